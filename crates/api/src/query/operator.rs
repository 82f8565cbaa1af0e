//! The six operators of a count, and what each means: `actual OPERATOR value`.

/// How a count is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// As many.
    Equal,
    /// Another number.
    NotEqual,
    /// Fewer.
    LessThan,
    /// At most as many.
    LessThanOrEqual,
    /// More.
    GreaterThan,
    /// At least as many.
    GreaterThanOrEqual,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 6] =
        [Self::Equal, Self::NotEqual, Self::LessThan, Self::LessThanOrEqual, Self::GreaterThan, Self::GreaterThanOrEqual];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::NotEqual => "NotEqual",
            Self::LessThan => "LessThan",
            Self::LessThanOrEqual => "LessThanOrEqual",
            Self::GreaterThan => "GreaterThan",
            Self::GreaterThanOrEqual => "GreaterThanOrEqual",
        }
    }

    /// The operator of this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == word)
    }

    /// Whether no count is like this: a count is neither below zero nor beyond 64 bits.
    pub(crate) fn never_holds(self, value: i64) -> bool {
        match self {
            Self::Equal | Self::LessThanOrEqual => value < 0,
            Self::LessThan => value <= 0,
            Self::GreaterThan => value == i64::MAX,
            Self::NotEqual | Self::GreaterThanOrEqual => false,
        }
    }

    /// Whether every count is like this, so that nothing is checked.
    pub(crate) fn always_holds(self, value: i64) -> bool {
        match self {
            Self::NotEqual | Self::GreaterThan => value < 0,
            Self::GreaterThanOrEqual => value <= 0,
            Self::LessThanOrEqual => value == i64::MAX,
            Self::Equal | Self::LessThan => false,
        }
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a count must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: i64,
}

impl Comparison {
    /// Whether a count is as it must be.
    pub fn holds(self, actual: u64) -> bool {
        let (actual, value) = (i128::from(actual), i128::from(self.value));
        match self.operator {
            Operator::Equal => actual == value,
            Operator::NotEqual => actual != value,
            Operator::LessThan => actual < value,
            Operator::LessThanOrEqual => actual <= value,
            Operator::GreaterThan => actual > value,
            Operator::GreaterThanOrEqual => actual >= value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Operator};

    #[test]
    fn each_operator_means_what_it_says() {
        // For 4, 5 and 6, compared with 5.
        for (operator, expected) in [
            (Operator::Equal, [false, true, false]),
            (Operator::NotEqual, [true, false, true]),
            (Operator::LessThan, [true, false, false]),
            (Operator::LessThanOrEqual, [true, true, false]),
            (Operator::GreaterThan, [false, false, true]),
            (Operator::GreaterThanOrEqual, [false, true, true]),
        ] {
            assert_eq!([4, 5, 6].map(|actual| Comparison { operator, value: 5 }.holds(actual)), expected, "{operator}");
            assert_eq!(Operator::named(operator.as_str()), Some(operator));
        }
        assert_eq!(Operator::named("equal"), None);
    }

    #[test]
    fn the_ends_of_the_numbers() {
        let holds = |operator, value, actual| Comparison { operator, value }.holds(actual);
        assert!(holds(Operator::GreaterThan, i64::MAX, u64::MAX));
        assert!(!holds(Operator::Equal, -1, u64::MAX), "no number wraps around");
        assert!(holds(Operator::NotEqual, i64::MIN, 0));
    }

    #[test]
    fn what_never_and_always_holds() {
        for operator in Operator::ALL {
            for value in [i64::MIN, -1, 0, 1, i64::MAX] {
                let held: Vec<_> = [0, 1, 2, i64::MAX as u64].map(|actual| Comparison { operator, value }.holds(actual)).into();
                if operator.never_holds(value) {
                    assert!(!held.contains(&true), "{operator} {value}");
                }
                if operator.always_holds(value) {
                    assert!(!held.contains(&false), "{operator} {value}");
                }
            }
        }
    }
}
