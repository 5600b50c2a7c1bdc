//! Makes Rust of the .proto files, without protoc.

use std::error::Error;

const FILES: [&str; 5] = [
    "proto/bigroom/v1/poll.proto",
    "proto/bigroom/internal/v1/cluster.proto",
    "proto/bigroom/internal/v1/log.proto",
    "proto/bigroom/internal/v1/send.proto",
    "proto/bigroom/internal/v1/stats.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
