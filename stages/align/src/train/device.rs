//! Which device training runs on, and why.

use candle_core::{DType, Device};

use clcc_data::error::{StageError, StageResult};
use clcc_stage::stage::DeviceChoice;

use super::params::Precision;

/// A device to train on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) device: Device,
    pub(super) name: &'static str,
}

/// What `choice` comes to in this build and on this machine, and why.
///
/// `auto` takes the first of CUDA and Metal that this program was built with and that opens, else
/// the CPU; it never fails. Another choice is itself.
pub fn resolve_device(choice: DeviceChoice) -> (DeviceChoice, String) {
    if choice != DeviceChoice::Auto {
        return (choice, "asked for".to_string());
    }
    let mut reasons = Vec::new();
    for choice in [DeviceChoice::Cuda, DeviceChoice::Metal] {
        let name = device_name(choice);
        if !is_built(choice) {
            reasons.push(format!("built without the feature `{name}`"));
        } else {
            match open_accelerator(choice) {
                Ok(_) => return (choice, format!("auto: the first `{name}` device opens")),
                Err(e) => reasons.push(format!("no `{name}` device opens ({e})")),
            }
        }
    }
    (DeviceChoice::Cpu, format!("auto: {}", reasons.join(", ")))
}

/// `auto`, `cpu`, `cuda` or `metal`.
pub const fn device_name(choice: DeviceChoice) -> &'static str {
    match choice {
        DeviceChoice::Auto => "auto",
        DeviceChoice::Cpu => "cpu",
        DeviceChoice::Cuda => "cuda",
        DeviceChoice::Metal => "metal",
    }
}

/// Whether this program was built with the feature that a device needs.
const fn is_built(choice: DeviceChoice) -> bool {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => true,
        DeviceChoice::Cuda => cfg!(feature = "cuda"),
        DeviceChoice::Metal => cfg!(feature = "metal"),
    }
}

fn open_accelerator(choice: DeviceChoice) -> Result<Device, String> {
    let opened = match choice {
        DeviceChoice::Cuda => Device::new_cuda(0),
        DeviceChoice::Metal => Device::new_metal(0),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::Cpu),
    };
    // With `RUST_BACKTRACE` candle's errors go on with a backtrace.
    opened.map_err(|e| e.to_string().lines().next().unwrap_or_default().to_string())
}

/// Opens the device.
///
/// # Errors
/// [`StageError::Data`], naming the feature, where this program was built without it; and where the
/// device does not open.
pub(super) fn open(choice: DeviceChoice) -> StageResult<Opened> {
    let (choice, _) = resolve_device(choice);
    let name = device_name(choice);
    if !is_built(choice) {
        return Err(StageError::data_hint(
            format!(
                "device `{name}` was asked for, but this program was built without the feature `{name}`"
            ),
            format!("build with `--features {name}`, or use `--device cpu`"),
        ));
    }
    let device = open_accelerator(choice).map_err(|e| {
        StageError::data_hint(
            format!("device `{name}` was asked for, but none opens: {e}"),
            "use `--device cpu`, or `--device auto`",
        )
    })?;
    Ok(Opened { device, name })
}

/// The type of the values that are kept in an accelerator's memory; `None` on the CPU, where batches are
/// sparse.
///
/// # Errors
/// [`StageError::Param`] for [`Precision::Mixed`] on the CPU.
pub(super) fn resident_dtype(device: &Device, precision: Precision) -> StageResult<Option<DType>> {
    match (device.is_cpu(), precision) {
        (true, Precision::Full) => Ok(None),
        (true, Precision::Mixed) => Err(StageError::Param {
            param: "precision".into(),
            message: "`mixed` is for accelerators, and training runs on the cpu".into(),
            hint: Some("use `precision: full`, or another `--device`".into()),
        }),
        (false, Precision::Full) => Ok(Some(DType::F32)),
        (false, Precision::Mixed) => Ok(Some(DType::BF16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_cpu_and_says_why() {
        if cfg!(any(feature = "cuda", feature = "metal")) {
            return;
        }
        let (choice, why) = resolve_device(DeviceChoice::Auto);
        assert_eq!(choice, DeviceChoice::Cpu);
        assert!(
            why.contains("feature `cuda`") && why.contains("feature `metal`"),
            "{why}"
        );
        assert_eq!(open(DeviceChoice::Auto).unwrap().name, "cpu");
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_by_its_feature() {
        for choice in [DeviceChoice::Cuda, DeviceChoice::Metal] {
            if is_built(choice) {
                continue;
            }
            let error = open(choice).unwrap_err();
            let name = device_name(choice);
            assert!(
                error.to_string().contains(&format!("the feature `{name}`")),
                "{error}"
            );
            let hint = error.hint().unwrap();
            assert!(hint.contains("--device cpu") && hint.contains(&format!("--features {name}")));
        }
    }
}
