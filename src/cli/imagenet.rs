//! Names of ImageNet's classes, for the public models, whose files hold none.

use std::sync::LazyLock;

/// Synset id and names, one class per line, in the public models' order (that of the ids). From timm; see NOTICE.
const TABLE: &str = include_str!("imagenet.tsv");

/// Ids and names.
static CLASSES: LazyLock<(Vec<String>, Vec<String>)> = LazyLock::new(|| {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once('\t')).map(|(id, name)| (id.to_owned(), name.to_owned())).unzip()
});

/// The names, for a model of as many classes that has none of its own; else nothing.
pub fn names(classes: usize) -> &'static [String] {
    let names = &CLASSES.1;
    if classes == names.len() { names } else { &[] }
}

/// The synset ids that belong to `names`, where those are ImageNet's; else nothing.
pub fn ids(names: &[String]) -> &'static [String] {
    let (ids, own) = &*CLASSES;
    if names == own { ids } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_classes_in_order_of_their_ids() {
        let names = names(1000);
        let ids = ids(names);
        assert_eq!((names.len(), ids.len()), (1000, 1000));
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 9 && id.starts_with('n')));
        assert!(names.iter().all(|name| !name.is_empty()));
        for (index, id, name) in [
            (0, "n01440764", "tench"),
            (1, "n01443537", "goldfish"),
            (207, "n02099601", "golden retriever"),
            (281, "n02123045", "tabby"),
            (980, "n09472597", "volcano"),
            (999, "n15075141", "toilet tissue"),
        ] {
            assert_eq!(ids[index], id);
            assert!(names[index].starts_with(name), "{}", names[index]);
        }
        assert!(super::names(10).is_empty() && super::ids(&names[..10]).is_empty());
    }
}
