//! `clcc-flow`: the exit code, nothing more.

fn main() {
    std::process::exit(clcc_flow::cli::main());
}
