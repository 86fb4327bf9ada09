//! The table and the plot of all cells that were made.

use std::path::Path;

use super::frechet::{Generated, Real};
use super::{CLASSES, Cell, EVALUATIONS, Records, Result, SAMPLERS};

/// Of the samplers, in their order.
const COLOURS: [&str; 5] = ["#6e7781", "#1f6feb", "#bf3989", "#1a7f37", "#bc4c00"];

/// A cell's figures.
struct Figures {
    cell: Cell,
    /// Labelled as asked, of 1.
    share: f64,
    /// To the real images, of as many generated ones as every cell has.
    distance: f64,
}

/// Prints the table and writes the plot.
pub fn write(real: &Real) -> Result<()> {
    let mut made: Vec<(Cell, Vec<usize>, Vec<f32>)> = Vec::new();
    for cell in Cell::all() {
        let (labels, features) = Records::of(&cell.to_string()).read()?;
        // Heun's method has one cell for two numbers of evaluations.
        if labels.len() >= 2 * CLASSES && !made.iter().any(|(other, ..)| *other == cell) {
            made.push((cell, labels, features));
        }
    }
    let common = made.iter().map(|(_, labels, _)| labels.len()).min().unwrap_or(0);
    println!("| evaluations | sampler | grid | images | as asked | distance | distance of {common} |");
    println!("|---|---|---|---|---|---|---|");
    let mut all = Vec::new();
    for (cell, labels, features) in made {
        let images = labels.len();
        let right = labels.iter().enumerate().filter(|(i, label)| i % CLASSES == **label).count();
        let share = right as f64 / images as f64;
        let error = (share * (1.0 - share) / images as f64).sqrt();
        let generated = Generated::new(real, &features);
        let distance = generated.distance(|i| i < common);
        println!(
            "| {} | {} | {} | {images} | {share:.3} ± {error:.3} | {:.1} ± {:.1} | {distance:.1} |",
            cell.evaluations,
            cell.sampler,
            if cell.grid { "searched" } else { "own" },
            generated.distance(|_| true),
            generated.standard_error(),
        );
        all.push(Figures { cell, share, distance });
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/quality.svg");
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, figure(&all))?;
    Ok(std::fs::rename(temporary, path)?)
}

/// Both figures over the evaluations, beside each other; dashed with a searched grid.
fn figure(all: &[Figures]) -> String {
    let most = all.iter().map(|f| f.distance).fold(0.0, f64::max);
    let least = all.iter().map(|f| f.share).fold(1.0, f64::min);
    let mut svg =
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 760 270' font-family='sans-serif' font-size='12'>\n\
                   <rect width='760' height='270' fill='#fff'/>\n"
            .to_owned();
    svg += &panel(50.0, "labelled as asked", all, [(least * 20.0).floor() / 20.0, 1.0], |f| f.share);
    svg += &panel(430.0, "Frechet distance", all, [0.0, (most / 20.0).ceil() * 20.0], |f| f.distance);
    for (k, (name, colour)) in SAMPLERS.iter().zip(COLOURS).enumerate() {
        let x = 50.0 + 100.0 * k as f64;
        svg += &format!(
            "<path d='M{x} 255h20' stroke='{colour}' stroke-width='2'/><text x='{}' y='259'>{name}</text>\n",
            x + 25.0
        );
    }
    svg + "<path d='M560 255h20' stroke='#333' stroke-width='2' stroke-dasharray='5 3'/><text x='585' y='259'>with a searched \
           grid</text>\n</svg>\n"
}

/// One figure; evaluations on a logarithmic axis.
fn panel(left: f64, title: &str, all: &[Figures], [low, high]: [f64; 2], value: impl Fn(&Figures) -> f64) -> String {
    const TOP: f64 = 30.0;
    const HEIGHT: f64 = 160.0;
    const WIDTH: f64 = 300.0;
    const TICKS: usize = 5;
    let x = |evaluations: usize| left + WIDTH * (evaluations as f64 / 3.0).ln() / (25.0f64 / 3.0).ln();
    let y = |value: f64| TOP + HEIGHT * (high - value) / (high - low);
    let mut svg = format!("<text x='{left}' y='18' font-weight='bold'>{title}</text>\n");
    for k in 0..=TICKS {
        let tick = low + (high - low) * k as f64 / TICKS as f64;
        let (y, label) = (y(tick), left - 6.0);
        let text = if high > 1.0 { format!("{tick:.0}") } else { format!("{tick:.2}") };
        svg += &format!(
            "<path d='M{left} {y:.1}h{WIDTH}' stroke='#ddd'/><text x='{label}' y='{y:.1}' dy='4' text-anchor='end'>{text}</text>\n"
        );
    }
    let base = TOP + HEIGHT;
    for evaluations in EVALUATIONS {
        svg +=
            &format!("<text x='{:.1}' y='{}' text-anchor='middle'>{evaluations}</text>\n", x(evaluations), base + 17.0);
    }
    svg += &format!(
        "<text x='{}' y='{}' text-anchor='middle'>network evaluations</text>\n",
        left + WIDTH / 2.0,
        base + 36.0
    );
    for (name, colour) in SAMPLERS.iter().zip(COLOURS) {
        for grid in [false, true] {
            let mut line = String::new();
            for f in all.iter().filter(|f| f.cell.sampler == *name && f.cell.grid == grid) {
                let (x, y) = (x(f.cell.evaluations), y(value(f)));
                line += &format!("{x:.1},{y:.1} ");
                svg += &format!("<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{colour}'/>\n");
            }
            let dash = if grid { " stroke-dasharray='5 3'" } else { "" };
            svg += &format!(
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'{dash}/>\n",
                line.trim_end()
            );
        }
    }
    svg
}
