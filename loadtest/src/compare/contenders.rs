//! Who is compared.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{BEFORE, CompareArgs, OURS};
use crate::peers::{Answers, Bigroom, EngineIo, Floor, Nchan, Peer, PeerName, Pushpin};

/// Everyone that was named and is installed; who is not is noted.
pub(super) fn of(
    args: &CompareArgs,
    peers: &[PeerName],
    notes: &mut Vec<String>,
) -> Result<Vec<Box<dyn Peer>>> {
    let mut contenders: Vec<Box<dyn Peer>> = Vec::new();
    if let Some(binary) = &args.server {
        contenders.push(build(OURS, binary)?);
    }
    if let Some(binary) = &args.before {
        contenders.push(build(BEFORE, binary)?);
    }
    for &name in peers {
        match peer(name)? {
            Ok(peer) => contenders.push(peer),
            Err(why) => notes.push(why),
        }
    }
    ensure!(!contenders.is_empty(), "there is nothing to measure: name --server or --peers");
    Ok(contenders)
}

/// A build of bigroom.
fn build(name: &'static str, binary: &Path) -> Result<Box<dyn Peer>> {
    let binary = binary.canonicalize().with_context(|| format!("find {}", binary.display()))?;
    Ok(Box::new(Bigroom { name, binary }))
}

/// A peer, or why it is left out.
fn peer(name: PeerName) -> Result<Result<Box<dyn Peer>, String>> {
    let nchan = |answers| {
        Nchan::installed(answers)
            .map(|nchan| Box::new(nchan) as Box<dyn Peer>)
            .ok_or("Nchan is left out: nginx-core and libnginx-mod-nchan are not installed.".to_owned())
    };
    Ok(match name {
        PeerName::Floor => Ok(Box::new(Floor::of_this_binary()?)),
        PeerName::Nchan => nchan(Answers::Whole),
        PeerName::NchanSingle => nchan(Answers::Single),
        PeerName::EngineIo => match EngineIo::install() {
            Ok(engine) => Ok(Box::new(engine)),
            Err(error) => Err(format!("engine.io is left out: {error:#}.")),
        },
        PeerName::Pushpin => match Pushpin::installed()? {
            Some(pushpin) => Ok(Box::new(pushpin)),
            None => Err("Pushpin is left out: pushpin, condure and zurl are not installed.".to_owned()),
        },
    })
}
