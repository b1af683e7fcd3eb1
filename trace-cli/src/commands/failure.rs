//! What can go wrong, as the user is told it: a sentence, and an exit code.

use crate::{
    kernel::{netns::NetnsError, obstacle::Obstacle, offsets::MissingMembers},
    lab::LabError,
    probe::loader,
    source::recording::{ReadError, WriteError},
};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Privileges or the kernel.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// The kernel's structures are not as we know them.
    #[error("this kernel's sk_buff is unknown to us")]
    Offsets(#[from] MissingMembers),
    /// Loading.
    #[error("cannot attach to the kernel")]
    Load(#[from] loader::Error),
    /// A budget, without what tells of its use.
    #[error(
        "a budget needs the kernel's run statistics of eBPF programs: CAP_SYS_ADMIN, or sysctl kernel.bpf_stats_enabled=1"
    )]
    Statistics(#[source] std::io::Error),
    /// A namespace named on the command line.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The recording to read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The recording to write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The demonstration's network or traffic.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// What stands at the beginning of a recording.
    #[error("the recording's preface makes no sense")]
    Preface(#[source] serde_json::Error),
    /// The output.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    /// The system.
    #[error("{0}")]
    System(&'static str, #[source] std::io::Error),
}

impl Failure {
    /// 1 failure, 3 missing privilege, 4 the kernel cannot.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Obstacle(obstacle) => obstacle.exit_code(),
            Self::Statistics(_) => 3,
            Self::Offsets(_) | Self::Load(loader::Error::NothingAttached(_)) => 4,
            _ => 1,
        }
    }

    /// The reader of our output has gone: no failure at all.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
