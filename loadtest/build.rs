//! Makes Rust of the .proto files, without protoc.

use std::error::Error;

const FILES: [&str; 1] = ["proto/loadtest/v1/worker.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
