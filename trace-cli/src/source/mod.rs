//! Where the pipeline's items come from: a recording, or the running kernel.
pub mod item;
pub mod live;
pub mod names;
pub mod recording;
mod spending;
