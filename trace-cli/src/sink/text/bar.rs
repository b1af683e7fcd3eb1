//! Bars: where in a whole a part lies, and how long it is.

/// Eighths of a cell, from the left.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A span of a whole, `cells` wide. It begins at the cell its start falls into and is never shorter than an eighth.
pub(super) fn span(start: u64, length: u64, whole: u64, cells: usize, fill: Fill) -> String {
    if whole == 0 || cells == 0 {
        return String::new();
    }
    let scale = |value: u64, steps: usize| -> usize {
        let scaled = u128::from(value) * (steps as u128) / u128::from(whole);
        usize::try_from(scaled).unwrap_or(steps).min(steps)
    };
    let first = scale(start, cells).min(cells - 1);
    let (begin, end) = (
        scale(start, cells * 8),
        scale(start.saturating_add(length), cells * 8),
    );
    let begin = begin.min(cells * 8 - 1);
    let within_a_cell = begin / 8 == end.saturating_sub(1) / 8;
    let eighths = end
        .saturating_sub(if within_a_cell { begin } else { first * 8 })
        .max(1);
    let mut bar = " ".repeat(first);
    match fill {
        Fill::Solid => {
            bar.extend(std::iter::repeat_n('█', eighths / 8));
            if let Some(&part) = (eighths % 8).checked_sub(1).and_then(|i| EIGHTHS.get(i)) {
                bar.push(part);
            }
        }
        Fill::Light => bar.extend(std::iter::repeat_n('░', eighths.div_ceil(8))),
    }
    bar
}

/// What a bar is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fill {
    /// Measured.
    Solid,
    /// A gap.
    Light,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_one_another() {
        assert_eq!(span(0, 50, 100, 10, Fill::Solid), "█████");
        assert_eq!(span(50, 50, 100, 10, Fill::Solid), "     █████");
        assert_eq!(span(50, 25, 100, 10, Fill::Solid), "     ██▌");
        assert_eq!(span(50, 25, 100, 10, Fill::Light), "     ░░░");
    }

    #[test]
    fn the_shortest_is_still_seen() {
        assert_eq!(span(0, 0, 100, 10, Fill::Solid), "▏");
        assert_eq!(span(100, 0, 100, 10, Fill::Solid), "         ▏");
        assert_eq!(span(99, 1, 100, 10, Fill::Solid), "         ▏");
        assert_eq!(span(0, 1, u64::MAX, 4, Fill::Solid), "▏");
        assert_eq!(span(0, 5, 0, 10, Fill::Solid), "");
        assert_eq!(span(0, 5, 5, 0, Fill::Solid), "");
    }

    #[test]
    fn none_is_wider_than_the_room() {
        for start in (0..=1000).step_by(7) {
            for length in (0..=1000 - start).step_by(13) {
                assert!(
                    span(start, length, 1000, 23, Fill::Solid).chars().count() <= 23,
                    "{start} {length}"
                );
                assert!(
                    span(start, length, 1000, 23, Fill::Light).chars().count() <= 23,
                    "{start} {length}"
                );
            }
        }
    }
}
