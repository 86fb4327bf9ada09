//! Which classes to sample: names as people type them, indices, lists, `all`.
//!
//! A name matches whatever its case and punctuation ("ankle-boot" is "Ankle boot"). So does one of a class's several
//! names ("goldfish" of "goldfish, Carassius auratus"), and a part of a name that only one class has, whole words
//! first. What matches nothing is answered with the nearest names.

use super::imagenet;
use crate::config::classes_in_turn;
use crate::{Error, Result};

/// Classes shown in a message, at most.
const SHOWN: usize = 8;

/// A model's classes.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// The number of classes; 0 for an unconditional model.
    pub count: usize,
    /// Their names, or empty.
    pub names: &'a [String],
    /// The class that stands for none in particular: taken only where it is named.
    pub null: Option<u32>,
    /// Their WordNet synset ids (n01440764), or empty.
    pub ids: &'a [String],
}

/// The class of image `index` of a run that takes `labels` in turn; None where there are none.
pub fn in_turn(labels: &[u32], index: u32) -> Option<u32> {
    labels.get((index as usize).checked_rem(labels.len())?).copied()
}

impl<'a> Classes<'a> {
    /// `count` classes of these names, of which `null` stands for none in particular.
    pub fn new(count: usize, names: &'a [String], null: Option<u32>) -> Self {
        Self { count, names, null, ids: imagenet::ids(names) }
    }

    /// The labels that `--class` asks for, in the order given; all classes but the null class where it is not given.
    ///
    /// # Errors
    /// [`Error::Options`] for a class that the model does not have.
    pub fn select(&self, asked: &[String]) -> Result<Vec<u32>> {
        if self.count == 0 {
            return match asked.first() {
                None => Ok(Vec::new()),
                Some(class) => Err(Error::Options(format!(
                    "class {:?}: this model was trained without classes; leave --class out",
                    shorten(class)
                ))),
            };
        }
        let mut labels = Vec::new();
        for text in asked {
            // A name may hold commas ("tench, Tinca tinca"), so the whole is tried before its parts.
            match self.exact(text) {
                Some(label) => labels.push(label),
                None => {
                    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                        if part.eq_ignore_ascii_case("all") {
                            labels.extend(classes_in_turn(self.count, self.null));
                        } else {
                            labels.push(self.find(part)?);
                        }
                    }
                }
            }
        }
        match (labels.is_empty(), asked.first()) {
            (false, _) => Ok(labels),
            (true, None) => Ok(classes_in_turn(self.count, self.null)),
            (true, Some(_)) => Err(Error::Options("--class names no class; give a name, an index or all".into())),
        }
    }

    /// A label's name, or its number where the model has no names.
    pub fn name(&self, label: u32) -> String {
        self.names.get(label as usize).cloned().unwrap_or_else(|| label.to_string())
    }

    /// The one class of this whole name, id or, among several, name.
    fn exact(&self, text: &str) -> Option<u32> {
        let wanted = plain(text);
        if let Some(at) = self.ids.iter().take(self.count).position(|id| *id == wanted) {
            return Some(at as u32);
        }
        let one = |matches: &dyn Fn(&str) -> bool| match self.matching(matches)[..] {
            [one] => Some(one as u32),
            _ => None,
        };
        one(&|name| plain(name) == wanted).or_else(|| one(&|name| name.split(',').any(|part| plain(part) == wanted)))
    }

    fn matching(&self, matches: &dyn Fn(&str) -> bool) -> Vec<usize> {
        (0..self.count.min(self.names.len())).filter(|&i| matches(&self.names[i])).collect()
    }

    fn find(&self, text: &str) -> Result<u32> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        // No class of ImageNet is called by a number, and a thousand numbers may be given.
        if let Some(label) = (self.ids.is_empty() || !digits).then(|| self.exact(text)).flatten() {
            return Ok(label);
        }
        if digits {
            return match text.parse::<u32>() {
                Ok(label) if (label as usize) < self.count => Ok(label),
                _ => Err(Error::Options(format!(
                    "class {}: this model has {} classes, 0 to {}",
                    shorten(text),
                    self.count,
                    self.count - 1
                ))),
            };
        }
        if self.names.is_empty() {
            return Err(Error::Options(format!(
                "class {:?}: this model's classes have no names; give numbers from 0 to {}",
                shorten(text),
                self.count - 1
            )));
        }
        let wanted = plain(text);
        let tiers: [&dyn Fn(&str) -> bool; 3] = [
            &|name| name.split(',').any(|part| plain(part) == wanted),
            &|name| format!(" {} ", plain(name)).contains(&format!(" {wanted} ")),
            &|name| plain(name).contains(&wanted),
        ];
        let found = tiers.into_iter().map(|tier| self.matching(tier)).find(|found| !found.is_empty());
        match found.filter(|_| !wanted.is_empty()).as_deref() {
            Some([one]) => Ok(*one as u32),
            Some(several) => Err(Error::Options(format!(
                "class {:?} is part of several names: {}",
                shorten(text),
                list(several.iter().map(|&i| self.shown(i)))
            ))),
            None => Err(Error::Options(format!("class {:?}: no such class; {}", shorten(text), self.nearest(&wanted)))),
        }
    }

    /// A class as messages name it: with its number where names are many and some alike.
    fn shown(&self, index: usize) -> String {
        let name = self.names.get(index).map_or("", String::as_str);
        if self.ids.is_empty() {
            return name.into();
        }
        format!("{} ({index})", name.split(',').next().unwrap_or(name))
    }

    /// The names nearest to a wrong one, or all of them where none is near.
    fn nearest(&self, wanted: &str) -> String {
        // A shortened text suffices to find what was meant, and bounds the work.
        let wanted: String = wanted.chars().take(60).collect();
        let mut near: Vec<(usize, usize)> = self
            .names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let parts = name.split(',').map(|part| distance(&wanted, &plain(part)));
                let whole = plain(name);
                // One word of a name counts as well: "boots" is near "Ankle boot".
                let words = whole.split(' ').map(|word| distance(&wanted, word) + 1);
                (words.chain(parts).min().unwrap_or(usize::MAX), index)
            })
            .collect();
        near.sort_unstable();
        let limit = wanted.chars().count().div_ceil(2);
        let close: Vec<String> =
            near.iter().filter(|(d, _)| *d <= limit).take(3).map(|(_, index)| self.shown(*index)).collect();
        if close.is_empty() {
            format!("it knows {}", list((0..self.names.len()).map(|i| self.shown(i))))
        } else {
            format!("nearest: {}", list(close.into_iter()))
        }
    }
}

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let total = names.len();
    let shown: Vec<String> = names.take(SHOWN).collect();
    let more = if total > SHOWN { format!(" and {} more (see `info`)", total - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Lower case, with one space for whatever is neither letter nor digit.
fn plain(text: &str) -> String {
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join(" ")
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fashion() -> Vec<String> {
        ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
            .map(String::from)
            .to_vec()
    }

    fn select(asked: &[&str]) -> Result<Vec<u32>> {
        let names = fashion();
        Classes { count: 10, names: &names, null: None, ids: &[] }
            .select(&asked.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    fn message(asked: &str) -> String {
        select(&[asked]).expect_err(asked).to_string()
    }

    #[test]
    fn names_indices_and_lists() {
        assert_eq!(select(&[]).expect("all"), (0..10).collect::<Vec<_>>());
        assert_eq!(select(&["ALL"]).expect("all"), (0..10).collect::<Vec<_>>());
        assert_eq!(select(&["ankle-boot"]).expect("a name"), [9]);
        assert_eq!(select(&["Shirt"]).expect("a whole name before a part"), [6]);
        assert_eq!(select(&["boot, 3,COAT", "bag"]).expect("a list"), [9, 3, 4, 8]);
        assert_eq!(select(&["7,7"]).expect("repeated"), [7, 7]);
        assert_eq!(select(&["top"]).expect("a part"), [0]);
        let names = ["tench, Tinca tinca".to_string(), "great white shark".to_string()];
        let classes = Classes { count: 2, names: &names, null: None, ids: &[] };
        assert_eq!(classes.select(&["Tench, tinca TINCA".into()]).expect("a name with a comma"), [0]);
    }

    #[test]
    fn wrong_names_get_the_nearest() {
        assert!(message("snaeker").contains("nearest: Sneaker"));
        assert!(message("boots").contains("Ankle boot"));
        assert!(message("trousers").contains("Trouser"));
        assert!(message("er").contains("several names: Trouser, Pullover, Sneaker"));
        assert!(message("helicopter xyz").contains("it knows T-shirt/top"));
        assert!(message("10").contains("0 to 9"));
        assert!(message("99999999999999999999").contains("0 to 9"));
        assert!(message("-1").contains("no such class"));
        assert!(message(",").contains("no class"));
        assert!(message("").contains("no class"));
        assert!(message(&"z".repeat(100_000)).len() < 300);
    }

    #[test]
    fn models_without_names_or_classes() {
        let numbered = Classes { count: 1000, names: &[], null: None, ids: &[] };
        assert_eq!(numbered.select(&["7,999".into()]).expect("indices"), [7, 999]);
        assert!(numbered.select(&["cat".into()]).expect_err("no names").to_string().contains("no names"));
        assert_eq!(numbered.name(12), "12");
        let none = Classes { count: 0, names: &[], null: None, ids: &[] };
        assert!(none.select(&[]).expect("nothing to choose").is_empty());
        assert!(none.select(&["0".into()]).is_err());
        let with_null = Classes { count: 3, null: Some(1), ..none };
        assert_eq!(with_null.select(&[]).expect("all but it"), [0, 2]);
        assert_eq!(with_null.select(&["all,1".into()]).expect("and it"), [0, 2, 1]);
    }

    #[test]
    fn imagenet_by_name_part_index_and_synset() {
        let names = imagenet::names(1000);
        let classes = Classes { count: 1000, names, null: None, ids: imagenet::ids(names) };
        let select = |text: &str| classes.select(&[text.into()]);
        assert_eq!(select("goldfish, Carassius auratus").expect("all its names"), [1]);
        assert_eq!(select("Goldfish, n02099601,999").expect("a name, a synset, an index"), [1, 207, 999]);
        assert_eq!(select("carassius auratus").expect("its second name"), [1]);
        assert_eq!(select("bald eagle").expect("a name"), [22]);
        assert_eq!(select("retriever, golden").err().map(|e| e.to_string().contains("several names")), Some(true));
        assert_eq!(select("volcan").expect("a part"), [980]);
        let message = |text: &str| select(text).expect_err(text).to_string();
        assert!(message("crane").contains("crane (134), crane (517)"), "{}", message("crane"));
        assert!(message("tabby kat").contains("tabby (281)"), "{}", message("tabby kat"));
        assert!(message("n99999999").contains("no such class"));
        assert!(message("shark").contains("great white shark (2)"));
        assert!(message("1000").contains("0 to 999"));
    }
}
