//! How a test or a demo says what a guest or a node is like.

mod guest;
mod node;
mod packages;

pub use guest::GuestSpec;
pub use node::NodeSpec;
