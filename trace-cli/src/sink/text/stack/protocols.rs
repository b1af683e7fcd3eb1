//! Protocol counters: those that mean loss, or all that have counted something.

use std::io;

use super::super::paint::{BAD, DIM, PLAIN, clean};
use super::super::table::{Align, Cell, Table};
use super::Page;
use crate::stack::{
    Section,
    protocols::{Protocols, meaning},
};

impl Page<'_> {
    pub(super) fn protocols(
        &mut self,
        now: &Protocols,
        growth: Option<&Protocols>,
    ) -> io::Result<()> {
        let all = self.at_length(Section::Protocols);
        let mut table = Table::new(&[
            ("COUNTER", Align::Left),
            ("VALUE", Align::Right),
            ("MEANING", Align::Left),
        ]);
        let mut rows = 0;
        for (name, value) in now.counters.iter().filter(|(_, value)| **value > 0) {
            let meaning = meaning(name);
            if meaning.is_none() && !all {
                continue;
            }
            rows += 1;
            let growth = growth.and_then(|growth| growth.get(name));
            // Loss of long ago is no alarm where it is known that nothing is lost now.
            let lost = meaning.is_some() && growth != Some(0);
            table.row(
                vec![
                    Cell::new(clean(name)).styled(if lost { BAD } else { PLAIN }),
                    Cell::new(self.counter(*value, growth)),
                    Cell::new(meaning.unwrap_or("")).styled(DIM),
                ],
                Vec::new(),
            );
        }
        let title = if all {
            "protocol counters"
        } else {
            "protocol counters that mean loss"
        };
        if rows > 0 {
            return self.table(title, &table);
        }
        writeln!(
            self.out,
            "{}",
            self.paint.with(DIM, format!("{title}: none has counted"))
        )
    }
}
