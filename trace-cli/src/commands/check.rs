//! `check`: what this kernel and these privileges allow, found out by attaching everything for a moment.

use std::io::{self, Write as _};

use super::{Failure, start};
use crate::{
    config::{Output, Probes},
    filter::Filter,
    kernel::{
        btf::Btf,
        features::{Facts, Obstacle, require},
    },
    pipeline::{Preface, Report},
    session::PlanState,
};

/// Runs the command; gives the exit code: 0 when traces can be made, else that of the obstacle.
pub fn run(probes: &Probes, output: Output) -> Result<u8, Failure> {
    let facts = Facts::gather(Btf::from_kernel().as_ref());
    let started = start::start(&start::Wanted {
        report: Report::Trace,
        probes,
        filter: &Filter::default(),
        filter_text: None,
        stacks: true,
        log: false,
    });
    let (preface, failure) = match started {
        Ok((_, preface)) => (Some(preface), None),
        Err(failure) => (None, Some(failure)),
    };
    match failure {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}
