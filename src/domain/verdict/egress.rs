//! Whether anything gets out of this machine at all: when most looks at several providers stay without an answer, it is not the
//! providers that are away.

use crate::domain::time::Span;

/// Looks of so long are counted.
pub const WINDOW: Span = Span::minutes(5);
/// It is over when those of so long are answered.
pub const RECOVERY: Span = Span::minutes(1);
/// So many providers, at the least.
const PROVIDERS: usize = 3;

/// Looks at the keys of one provider, within some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    /// Its name.
    pub provider: String,
    /// How many.
    pub all: u64,
    /// How many of them got no answer.
    pub silent: u64,
}

/// True when four fifths of all looks got no answer, and three providers or more are among those that did not answer.
pub fn is_cut_off(looks: &[Looks]) -> bool {
    let providers = looks.iter().filter(|one| one.silent > 0).count();
    let (all, silent) = sum(looks);
    providers >= PROVIDERS && silent * 5 >= all * 4
}

/// True when half of the looks got an answer. Without a look nothing is known.
pub fn is_back(looks: &[Looks]) -> bool {
    let (all, silent) = sum(looks);
    all > 0 && silent * 2 <= all
}

fn sum(looks: &[Looks]) -> (u64, u64) {
    looks.iter().fold((0, 0), |(all, silent), one| (all + one.all, silent + one.silent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(rows: &[(u64, u64)]) -> Vec<Looks> {
        let one = |(n, (all, silent)): (usize, &(u64, u64))| Looks {
            provider: format!("p{n}"),
            all: *all,
            silent: *silent,
        };
        rows.iter().enumerate().map(one).collect()
    }

    #[test]
    fn three_providers_and_four_fifths_are_the_way_out() {
        assert!(is_cut_off(&looks(&[(1, 1), (1, 1), (1, 1)])));
        assert!(!is_cut_off(&looks(&[(50, 50), (50, 50)])), "two providers may be away at once");
        assert!(is_cut_off(&looks(&[(2, 2), (1, 1), (1, 1), (1, 0)])), "four of five");
        assert!(!is_cut_off(&looks(&[(2, 2), (1, 1), (1, 1), (2, 0)])));
        assert!(!is_cut_off(&[]));
    }

    #[test]
    fn it_is_over_when_half_of_the_looks_are_answered() {
        assert!(is_back(&looks(&[(2, 1), (2, 1)])));
        assert!(!is_back(&looks(&[(2, 2), (2, 1)])));
        assert!(!is_back(&[]), "nobody looked");
    }
}
