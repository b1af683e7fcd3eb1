//! Where the pipeline's items come from: a recording, or the running kernel.
pub mod item;
pub mod recording;
