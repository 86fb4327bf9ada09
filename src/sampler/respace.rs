//! Which timesteps of the full process a shorter sampling process keeps.
//!
//! The specs and the exact step lists are those of the public scripts' `timestep_respacing`, because a model's
//! published settings name them: `250` (evenly over the process), `10,20,30` (that many from each of three equal
//! sections), `ddim25` (a fixed integer stride from 0).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A respacing spec, parsed but not yet applied to a process.
/// JSON has it as text, or a single count as a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "String")]
pub enum Respacing {
    /// So many steps from each of so many equal sections; a single count covers the whole process.
    Sections(Vec<usize>),
    /// So many steps at a fixed integer stride, from step 0 (the DDIM paper's spacing).
    Ddim(usize),
}

impl Respacing {
    /// How many steps it keeps.
    pub fn count(&self) -> usize {
        match self {
            Self::Sections(counts) => counts.iter().fold(0, |sum, count| sum.saturating_add(*count)),
            Self::Ddim(count) => *count,
        }
    }

    /// A count as the nearest one of a fixed stride through `steps` steps that is not larger; other specs, and a single step, as
    /// they are.
    pub fn at_a_stride(&self, steps: usize) -> Self {
        match self {
            Self::Sections(counts) => match counts[..] {
                [count] if (2..=steps).contains(&count) => Self::Ddim(steps.div_ceil(steps.div_ceil(count))),
                _ => self.clone(),
            },
            Self::Ddim(_) => self.clone(),
        }
    }

    /// The kept timesteps of a process of `steps` steps, ascending.
    ///
    /// # Errors
    /// [`Error::Options`] where the process has no such steps; the message names counts that work.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>> {
        match self {
            Self::Ddim(count) => ddim(steps, *count),
            Self::Sections(counts) => sections(steps, counts),
        }
    }
}

fn ddim(steps: usize, count: usize) -> Result<Vec<usize>> {
    // ceil(steps / stride) falls as the stride rises, so the neighbours of a missing count are the nearest ones.
    let mut above = None;
    for stride in 1..steps {
        let kept = steps.div_ceil(stride);
        if kept == count {
            return Ok((0..steps).step_by(stride).collect());
        }
        if kept < count {
            let nearest = match above {
                Some(more) => format!("ddim{kept} and ddim{more} are the nearest that work"),
                None => format!("ddim{kept} is the most"),
            };
            return Err(Error::Options(format!(
                "steps ddim{count}: no integer stride takes {count} of {steps} steps; {nearest}"
            )));
        }
        above = Some(kept);
    }
    Err(Error::Options(match above {
        Some(least) => {
            format!("steps ddim{count}: the least that a process of {steps} steps allows is ddim{least}")
        }
        None => format!("steps ddim{count}: a process of {steps} steps has no stride"),
    }))
}

fn sections(steps: usize, counts: &[usize]) -> Result<Vec<usize>> {
    let parts = counts.len();
    if counts.iter().all(|&count| count == 0) {
        return Err(Error::Options("steps: the respacing keeps no step; give a count of at least 2".into()));
    }
    let mut kept = Vec::new();
    let mut start = 0;
    for (i, &count) in counts.iter().enumerate() {
        let size = steps / parts + usize::from(i < steps % parts);
        if count > size {
            return Err(Error::Options(if parts == 1 {
                format!("steps {count}: the process has only {steps} steps; give at most {steps}")
            } else {
                format!(
                    "steps: {count} steps asked of section {} of {parts}, which has only {size} of the process's \
                     {steps}; give at most {size} there{}",
                    i + 1,
                    if counts.is_sorted_by(|a, b| a > b) {
                        ", or a grid (--grid) of these timesteps themselves"
                    } else {
                        ""
                    }
                )
            }));
        }
        let stride = if count <= 1 { 1.0 } else { (size - 1) as f64 / (count - 1) as f64 };
        // Halves round to even, as Python's round does.
        kept.extend((0..count).map(|k| start + (k as f64 * stride).round_ties_even() as usize));
        start += size;
    }
    kept.dedup();
    Ok(kept)
}

/// What JSON may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Count(usize),
    Spec(String),
}

impl TryFrom<Text> for Respacing {
    type Error = Error;

    fn try_from(text: Text) -> Result<Self> {
        match text {
            Text::Count(count) => count.to_string().parse(),
            Text::Spec(spec) => spec.parse(),
        }
    }
}

impl From<Respacing> for String {
    fn from(respacing: Respacing) -> Self {
        respacing.to_string()
    }
}

impl FromStr for Respacing {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self> {
        let refuse = |why: &str| {
            // A spec may come from anywhere: never echo more of it than a line holds.
            let shown: String = spec.chars().take(40).collect();
            Error::Options(format!(
                "steps {shown:?}: {why}; write a step count such as 250, counts a section such as 10,20,30, or \
                 ddim25 for a fixed stride"
            ))
        };
        let count = |text: &str| -> Result<usize> {
            let text = text.trim();
            match text {
                "" => Err(refuse("a count is missing")),
                _ if text.starts_with('-') => Err(refuse("a count cannot be negative")),
                _ if !text.bytes().all(|b| b.is_ascii_digit()) => Err(refuse("not a number")),
                // Only digits are left, so what fails to parse is too large.
                _ => text.parse().map_err(|_| refuse("the count is too large")),
            }
        };
        let spec = spec.trim();
        if let Some(digits) = spec.strip_prefix("ddim") {
            return match count(digits)? {
                0 => Err(refuse("zero steps")),
                n => Ok(Self::Ddim(n)),
            };
        }
        let counts = spec.split(',').map(count).collect::<Result<Vec<_>>>()?;
        if counts.iter().all(|&n| n == 0) {
            return Err(refuse("zero steps"));
        }
        Ok(Self::Sections(counts))
    }
}

impl fmt::Display for Respacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ddim(count) => write!(f, "ddim{count}"),
            Self::Sections(counts) => {
                for (i, count) in counts.iter().enumerate() {
                    write!(f, "{}{count}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(spec: &str, steps: usize) -> String {
        match spec.parse::<Respacing>().and_then(|r| r.timesteps(steps)) {
            Err(Error::Options(message)) => message,
            other => panic!("{spec} of {steps}: {other:?}"),
        }
    }

    #[test]
    fn specs_print_as_they_are_written() {
        for spec in ["250", "10,20,30", "ddim25", "10,0,5"] {
            assert_eq!(spec.parse::<Respacing>().expect(spec).to_string(), spec);
        }
    }

    #[test]
    fn halves_round_to_even() {
        // A stride of 1.5: 0, 1.5, 3, 4.5, 6.
        let r: Respacing = "5".parse().expect("a spec");
        assert_eq!(r.timesteps(7).expect("a list"), [0, 2, 3, 4, 6]);
    }

    #[test]
    fn counts_find_a_stride() {
        for (count, steps, kept) in [
            (25, 1000, "ddim25"),
            (60, 1000, "ddim59"),
            (25, 64, "ddim22"),
            (2, 2, "ddim2"),
            (1, 1000, "1"),
            (1, 1, "1"),
        ] {
            let at_a_stride = Respacing::Sections(vec![count]).at_a_stride(steps);
            assert_eq!(at_a_stride.to_string(), kept, "{count} of {steps}");
            assert!(at_a_stride.timesteps(steps).is_ok(), "{kept} of {steps}");
        }
    }

    #[test]
    fn impossible_specs_say_what_is_possible() {
        assert!(message("ddim60", 1000).contains("ddim59 and ddim63"));
        assert!(message("ddim0", 1000).contains("zero"));
        assert!(message("ddim1", 1000).contains("ddim2"));
        assert!(message("ddim1001", 1000).contains("ddim1000 is the most"));
        assert!(message("1001", 1000).contains("at most 1000"));
        assert!(message("300,400,300", 1000).contains("section 2 of 3"));
        assert!(message("1,1,1", 2).contains("section 3 of 3"));
        assert!(message("5", 0).contains("only 0"));
        assert!(message("ddim5", 0).contains("no stride"));
    }

    #[test]
    fn garbage_is_refused() {
        for spec in
            ["", " ", "0", "0,0", "-5", "10,-1", "ddim", "ddim-3", "ddimx", "1e3", "2.5", "10,,20", "10,", ",", "٣"]
        {
            assert!(spec.parse::<Respacing>().is_err(), "{spec:?}");
        }
        assert!(message("99999999999999999999999", 1000).contains("too large"));
        assert!(message(&"7".repeat(100_000), 1000).len() < 300);
    }
}
