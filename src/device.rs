//! Which device a run uses, and the numerics class that enters the key of device-sensitive kinds.

use clcc_stages::stage::DeviceChoice;

/// A device asked for that this build does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "device `{device}` was asked for, but this program was built without the feature `{device}`"
)]
pub struct NoDevice {
    /// The device.
    pub device: &'static str,
}

/// The device that is used, and its numerics class.
///
/// # Errors
/// [`NoDevice`] where this build has no such device. `auto` never fails.
pub fn resolve(choice: DeviceChoice) -> Result<(DeviceChoice, &'static str), NoDevice> {
    match choice {
        DeviceChoice::Cpu => Ok((DeviceChoice::Cpu, "cpu")),
        DeviceChoice::Cuda if cfg!(feature = "cuda") => Ok((DeviceChoice::Cuda, "cuda")),
        DeviceChoice::Cuda => Err(NoDevice { device: "cuda" }),
        DeviceChoice::Metal if cfg!(feature = "metal") => Ok((DeviceChoice::Metal, "metal")),
        DeviceChoice::Metal => Err(NoDevice { device: "metal" }),
        DeviceChoice::Auto => Ok((DeviceChoice::Cpu, "cpu")),
    }
}
