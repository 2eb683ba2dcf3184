//! `bindgen WASM OUT NAME`: writes a module and its glue into a directory, as ES modules for any host.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let [_, wasm, out, name] = std::env::args().collect::<Vec<_>>().try_into().unwrap_or_default();
    let mut bindgen = Bindgen::new();
    let written = bindgen.web(true).and_then(|bindgen| {
        bindgen
            .input_path(wasm)
            .typescript(true)
            .omit_default_module_path(false)
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
