//! docs/memory.md says what the planner plans.

#[path = "../examples/memory_table.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod memory_table;

#[test]
fn the_documents_tables_are_the_planners() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/memory.md")).unwrap();
    let tables = memory_table::tables().unwrap();
    let stale: Vec<&str> = tables.lines().filter(|line| !document.lines().any(|have| have == *line)).collect();
    assert!(
        stale.is_empty(),
        "docs/memory.md lacks these lines; replace its tables by the output of `cargo run --release --example \
         memory_table`\n{}",
        stale.join("\n")
    );
    assert!(document.ends_with(&tables), "the tables end docs/memory.md, in order");
}
