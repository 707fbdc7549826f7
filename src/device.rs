//! Which device a run uses and why, and the numerics class that enters the key of device-sensitive kinds: the
//! device's name. All CPUs are one class, as they give the same bits.

use clcc_stages::stage::DeviceChoice;
use clcc_stages::train::{device_name, resolve_device};

/// A device asked for that this build does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "device `{device}` was asked for, but this program was built without the feature `{device}`"
)]
pub struct NoDevice {
    /// The device.
    pub device: &'static str,
}

/// The device of a run; never `auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDevice {
    /// The device.
    pub choice: DeviceChoice,
    /// Its numerics class, which is its name.
    pub class: &'static str,
    /// Why it is this one.
    pub reason: String,
}

/// The device that is used.
///
/// # Errors
/// [`NoDevice`] where this build has no such device. `auto` never fails: it takes the CPU where no
/// accelerator is built in or opens.
pub fn resolve(choice: DeviceChoice) -> Result<RunDevice, NoDevice> {
    let (choice, reason) = resolve_device(choice);
    let class = device_name(choice);
    let built = match choice {
        DeviceChoice::Cuda => cfg!(feature = "cuda"),
        DeviceChoice::Metal => cfg!(feature = "metal"),
        DeviceChoice::Auto | DeviceChoice::Cpu => true,
    };
    if built {
        Ok(RunDevice {
            choice,
            class,
            reason,
        })
    } else {
        Err(NoDevice { device: class })
    }
}

/// Names of the accelerators of that kind that this process may use, each for one node at a time:
/// those of `CUDA_VISIBLE_DEVICES` where it is set, else those that the driver lists, at least one.
pub fn accelerators(choice: DeviceChoice) -> Vec<String> {
    match choice {
        DeviceChoice::Cuda => {
            if let Ok(list) = std::env::var("CUDA_VISIBLE_DEVICES") {
                return list.split(',').map(|id| id.trim().to_string()).collect();
            }
            let count = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(1, Iterator::count);
            (0..count.max(1)).map(|i| i.to_string()).collect()
        }
        DeviceChoice::Metal => vec!["0".to_string()],
        DeviceChoice::Auto | DeviceChoice::Cpu => Vec::new(),
    }
}
