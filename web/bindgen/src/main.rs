//! `bindgen [--tests] WASM OUT NAME`: writes a module and its glue into a directory, as ES modules for any host.
//!
//! With `--tests` the module is one of wasm-bindgen-test: its tests are exports, which the glue hands out, and nothing
//! is started.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let tests = args.first().is_some_and(|arg| arg == "--tests");
    if tests {
        args.remove(0);
    }
    let Ok([wasm, out, name]) = <[String; 3]>::try_from(args) else {
        eprintln!("bindgen [--tests] WASM OUT NAME");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    let written = bindgen.web(true).and_then(|bindgen| {
        bindgen
            .input_path(wasm)
            .typescript(!tests)
            .debug(tests)
            .export_wasm(tests)
            .emit_start(!tests)
            .omit_default_module_path(tests)
            .out_name(&name)
            .generate(out)
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
