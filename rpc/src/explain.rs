//! What a failed call says to whoever reads the log, and what to do about it where the two nodes' TLS does not fit.

use std::error::Error as _;

use tonic::Status;

use crate::Security;

/// Most causes of one failure that are told (count): a chain has five or six.
const CAUSES_MAX: usize = 16;

/// A failure of a node whose TLS does not fit ours, by what the chain of its causes has in it; and what to do.
struct Misfit {
    signs: &'static [&'static str],
    advice: &'static str,
}

/// Of a node that shows a certificate and asks for one. The words are those of rustls.
const MUTUAL: [Misfit; 5] = [
    Misfit {
        // The second where two authorities have one name.
        signs: &["invalid peer certificate: UnknownIssuer", "invalid peer certificate: BadSignature"],
        advice: "the other node's certificate is not signed by the authority in cluster.tls.ca of this node: have those of all \
                 nodes signed by one, and give all nodes its certificate",
    },
    Misfit {
        signs: &["certificate not valid for name"],
        advice: "the other node's certificate is for another name: have it made for the cluster.tls.name of this node, or set \
                 that to the name that it has",
    },
    Misfit {
        signs: &["certificate expired", "certificate not valid yet"],
        advice: "the other node's certificate is not good at this time: renew it, or set the clocks right",
    },
    Misfit {
        signs: &["received fatal alert"],
        advice: "the other node does not take cluster.tls.cert of this node: have it signed by the authority in the other node's \
                 cluster.tls.ca, and look whether it has expired",
    },
    Misfit {
        signs: &["received corrupt message", "HTTP/2 was not negotiated"],
        advice: "what listens there does not speak TLS as nodes do: set cluster.tls.cert, key and ca on all nodes or on none",
    },
];

/// Of a node without TLS: what one with it answers is no HTTP/2.
const NONE: [Misfit; 1] = [Misfit {
    // The second where the other node has hung up before its answer was read.
    signs: &["frame with invalid size", "connection error"],
    advice: "what listens there does not speak plain HTTP/2: if the other nodes have cluster.tls, set cluster.tls.cert, key and \
             ca on this node, too",
}];

/// Why a call failed, with all its causes, and what to do if TLS is why.
#[must_use]
pub fn explain(status: &Status, security: &Security) -> String {
    let mut why = status.message().to_owned();
    let mut cause = status.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let text = error.to_string();
        if !text.is_empty() && !why.contains(&text) {
            why = if why.is_empty() { text } else { format!("{why}: {text}") };
        }
        cause = error.source();
    }
    let misfits: &[Misfit] = if security.is_mutual() { &MUTUAL } else { &NONE };
    let advice = misfits.iter().find(|misfit| misfit.signs.iter().any(|sign| why.contains(sign)));
    match advice {
        Some(Misfit { advice, .. }) => format!("{advice} ({why})"),
        None => why,
    }
}

#[cfg(test)]
mod tests;
