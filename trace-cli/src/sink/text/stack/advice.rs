//! What is wrong, and what can be done about it.

use std::io;

use super::super::paint::{BAD, BOLD, DIM, GOOD, clean};
use super::Page;
use crate::stack::advice::Advice;

impl Page<'_> {
    pub(super) fn advice(&mut self, all: &[Advice]) -> io::Result<()> {
        let over = match self.seconds {
            Some(seconds) => format!("in the last {seconds:.1} s"),
            None => "since counting began".to_owned(),
        };
        if all.is_empty() {
            let text = format!("advice: nothing found wrong {over}");
            return writeln!(self.out, "{}\n", self.paint.with(GOOD, text));
        }
        self.title(&format!("advice ({over}; nothing was changed)"))?;
        for one in all {
            let place = one.netns.as_deref().map(|name| format!(" in {name}"));
            let subject = format!("{}{}", one.subject, place.unwrap_or_default());
            writeln!(
                self.out,
                "  {}: {}",
                self.paint.with(BAD, clean(&subject)),
                self.paint.with(BOLD, one.what)
            )?;
            let evidence: Vec<String> = one
                .evidence
                .iter()
                .map(|evidence| format!("{} = {}", evidence.name, evidence.value))
                .collect();
            writeln!(self.out, "    known by: {}", clean(&evidence.join(", ")))?;
            for command in &one.commands {
                writeln!(self.out, "    $ {}", clean(command))?;
            }
            writeln!(
                self.out,
                "    {}",
                self.paint.with(DIM, format!("but: {}", one.trade_off))
            )?;
        }
        writeln!(self.out)
    }
}
