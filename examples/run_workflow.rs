//! Runs a workflow file from a Rust program and prints what became of each node:
//!
//!     cargo run --example run_workflow -- workflows/demo.yaml

#![allow(clippy::print_stdout, reason = "an example prints")]

use clcc_flow::events::{Event, Stamped};
use clcc_flow::run::{RunOptions, run, run_if_child};
use clcc_flow::schedule::Outcome;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Each node runs in a child process of this program.
    if let Some(code) = run_if_child() {
        std::process::exit(code);
    }
    let file = std::env::args().nth(1).ok_or("give a workflow file")?;
    let mut progress = |event: &Stamped<'_>| {
        if let Event::DidExecute { id, seconds, .. } = event.event {
            println!("{:8.2} s  {id} took {seconds:.2} s", event.elapsed);
        }
    };
    let finished = run(file.as_ref(), &RunOptions::default(), &mut progress)?;
    for (node, end) in finished.plan.nodes.iter().zip(&finished.outcome.nodes) {
        if let Outcome::Failed(failure) = end {
            println!("{} failed: {}", node.id, failure.message);
        }
    }
    println!("results: {}", finished.published.dir.display());
    Ok(())
}
