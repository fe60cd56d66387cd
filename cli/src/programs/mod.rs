//! Small programs that stand in for the container images of the demos: `fsm program NAME …`.
//!
//! They are ordinary servers and clients: they know nothing of the mesh, end within a second of SIGTERM, and print one
//! line per event that a reader of `fsm logs` wants to see.

mod arguments;
pub mod bookstore;
mod client;
pub mod echo;
pub mod httpbin;
pub mod respond;
mod serve;

use std::process::ExitCode;

/// The programs' names, in the order in which the help lists them.
pub const NAMES: [&str; 7] = ["httpbin", "respond", "echo", "bookstore", "bookbuyer", "bookthief", "bookwarehouse"];

/// Runs a program to its end. `arguments` are those after its name.
///
/// The exit code is 0 after SIGTERM or SIGINT, 1 when the program could not do its work, 2 for wrong usage.
pub fn run(name: &str, arguments: &[String]) -> ExitCode {
    let outcome = match name {
        "httpbin" => httpbin::run(arguments),
        "respond" => respond::run(arguments),
        "echo" => echo::run(arguments),
        "bookstore" => bookstore::store::run(arguments),
        "bookwarehouse" => bookstore::warehouse::run(arguments),
        "bookbuyer" => bookstore::buyer::run(bookstore::buyer::Role::Buyer, arguments),
        "bookthief" => bookstore::buyer::run(bookstore::buyer::Role::Thief, arguments),
        _ => Err(Usage::new(format!("there is no program {name:?}; there are {}", NAMES.join(", ")))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Usage { text, code }) => {
            eprintln!("fsm program {name}: {text}");
            ExitCode::from(code)
        }
    }
}

/// Why a program has not run, or not to a good end.
#[derive(Debug)]
pub(crate) struct Usage {
    text: String,
    code: u8,
}

impl Usage {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    fn unknown(flag: &str, usage: &str) -> Self {
        Self::new(format!("{flag} is not known; usage: {usage}"))
    }

    fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }
}
