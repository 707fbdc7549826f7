//! Mutates small inputs and reads them; see README.md.

mod drive;
mod mutate;
mod targets;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|a| a.parse::<u64>().ok());
    let Some(target) = arguments.first().and_then(|name| targets::named(name)) else {
        eprintln!("usage: clcc-fuzz TARGET [SECONDS [FIRST]], a target of {:?}", targets::NAMES);
        return std::process::ExitCode::from(2);
    };
    let (seconds, first) = (number(1).unwrap_or(60), number(2).unwrap_or(0));
    match std::env::var_os(drive::WORKER) {
        Some(dir) => drive::work(&target, dir.as_ref(), seconds, first),
        None => drive::watch(&target, seconds, first),
    }
}
