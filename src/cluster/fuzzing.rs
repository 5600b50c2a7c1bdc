//! Fuzz target of what the sendsvr tells of the cluster.

use prost::Message as _;
use proto::internal as wire;

use super::membership::told;

/// A state of the cluster, heard for the first time and once more.
///
/// # Panics
/// If a node that was understood is not understood the same once more, or the same word changes what is known.
pub fn cluster_state(data: &[u8]) {
    let Ok(state) = wire::ClusterState::decode(data) else { return };
    let Ok(cluster) = told(state.clone(), None) else { return };
    for node in &cluster.nodes {
        assert_eq!(wire::ClusterNode::from(node).try_into(), Ok(node.clone()));
    }
    assert!(cluster.nodes.is_sorted_by(|one, next| one.name < next.name), "each name once");
    for room in cluster.routing.moved.keys() {
        let home = cluster.routing.sect_of(room);
        assert!(cluster.routing.table.sects().contains(home));
    }
    let again = told(state, Some(&cluster)).expect("as before");
    assert_eq!((again.nodes, again.text), (cluster.nodes, cluster.text));
    assert_eq!(*again.routing, *cluster.routing);
}
