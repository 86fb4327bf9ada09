//! What a process that ends at once does about its unfinished files. Alone in its process: it concerns all of them.

use std::io::Write;

use guided_diffusion::checkpoint::writer::{AtomicFile, create_folder, remove_temporaries};

#[test]
fn unfinished_files_go_and_finished_ones_stay() {
    let folder = std::env::temp_dir().join(format!("guided-diffusion-temporaries-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let count = || std::fs::read_dir(&folder).unwrap().count();
    let finished = AtomicFile::create(folder.join("finished")).unwrap();
    finished.commit().unwrap();
    drop(AtomicFile::create(folder.join("dropped")).unwrap());
    let mut open = AtomicFile::create(folder.join("open")).unwrap();
    open.write_all(b"half").unwrap();
    let [empty, used] = ["empty", "used"].map(|name| folder.join(name));
    create_folder(&empty).unwrap();
    create_folder(&used).unwrap();
    AtomicFile::create(used.join("finished")).unwrap().commit().unwrap();
    let inside = AtomicFile::create(empty.join("open")).unwrap();
    assert_eq!(count(), 4);
    remove_temporaries();
    assert_eq!(count(), 2);
    assert!(used.join("finished").is_file());
    drop(inside);
    assert!(folder.join("finished").is_file());
    drop(open);
    // What a killed process of the same number has left keeps nothing from being written.
    for count in 0..20 {
        std::fs::write(folder.join(format!(".taken.{}.{count}.tmp", std::process::id())), "left").unwrap();
    }
    AtomicFile::create(folder.join("taken")).unwrap().commit().unwrap();
    assert!(folder.join("taken").is_file());
    std::fs::remove_dir_all(&folder).unwrap();
}
