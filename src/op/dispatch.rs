//! A dispatch as an op describes it: a kernel, its buffers and its parameters by the shader's own names, its grid.

use crate::shader::Kernel;

/// A tensor in device memory before slots are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// What a dispatch binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// An activation.
    Value(ValueId),
    /// A part of one.
    Part {
        /// The activation.
        value: ValueId,
        /// The first byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Index of a weight.
    Weight(usize),
    /// Index of a constant.
    Constant(usize),
    /// The dispatch's own parameters.
    Parameters,
}

impl From<ValueId> for Resource {
    fn from(value: ValueId) -> Self {
        Self::Value(value)
    }
}

/// A dispatch being described.
#[derive(Debug, Clone)]
pub struct DispatchBuilder {
    pub(crate) kernel: Kernel,
    pub(crate) buffers: Vec<(&'static str, Resource)>,
    pub(crate) words: Vec<(&'static str, Option<u32>)>,
    pub(crate) workgroups: [usize; 3],
    /// Columns and lines of a grid that may be split, and its operations.
    lines: Option<(usize, usize, u64)>,
}

impl DispatchBuilder {
    /// Starts the description of a dispatch.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self { kernel, buffers: Vec::new(), words: Vec::new(), workgroups: [0, 0, 0], lines: None }
    }

    /// Binds the shader's buffer `name`.
    pub fn bind(&mut self, name: &'static str, resource: impl Into<Resource>) -> &mut Self {
        self.buffers.push((name, resource.into()));
        self
    }

    /// Sets an integer parameter; one that the shader does not have is ignored, since variants differ.
    pub fn word(&mut self, name: &'static str, value: usize) -> &mut Self {
        self.words.push((name, u32::try_from(value).ok()));
        self
    }

    /// Sets a float parameter.
    pub fn float(&mut self, name: &'static str, value: f32) -> &mut Self {
        self.words.push((name, Some(value.to_bits())));
        self
    }

    /// Workgroups per dimension.
    pub fn groups(&mut self, workgroups: [usize; 3]) -> &mut Self {
        self.workgroups = workgroups;
        self
    }

    /// The grid of 8 x 8 workgroups over (columns, rows); rows continue in z, 65,535 workgroups at a time.
    pub fn tiles(&mut self, columns: usize, rows: usize) -> &mut Self {
        let groups = rows.div_ceil(8);
        self.groups([columns.div_ceil(8), groups.min(65_535), groups.div_ceil(65_535)])
    }

    /// The grid of `columns` x `all` workgroups, by the parameters of shaders/shared/gemm_rows.wgsl: each product has `lines` of
    /// all lines. Together they do `work` operations, by which they are split.
    pub fn lines(&mut self, columns: usize, lines: usize, all: usize, work: u64) -> &mut Self {
        self.lines = Some((columns, all, work));
        self.word("lines", lines)
    }

    /// The dispatch, or those that have a part of its lines each and do about `most` operations. Lines continue in z, 65,535 at a
    /// time.
    pub(crate) fn pieces(self, most: u64) -> Vec<Self> {
        let Some((columns, all, work)) = self.lines else { return vec![self] };
        let count = usize::try_from(work.div_ceil(most)).unwrap_or(all).clamp(1, all.max(1));
        let piece = |i: usize| {
            let (first, end) = (all * i / count, all * (i + 1) / count);
            let mut piece = self.clone();
            piece.word("first_line", first).word("end_line", end);
            let lines = end - first;
            piece.groups([columns, lines.min(65_535), lines.div_ceil(65_535)]);
            piece
        };
        (0..count).map(piece).collect()
    }

    /// The grid of workgroups of 64 over `elements`, in rows of 32,768 workgroups.
    pub fn elements(&mut self, elements: usize) -> &mut Self {
        let stride = elements.min(64 * 32_768);
        self.word("elements", elements).word("stride", stride);
        self.groups([stride.div_ceil(64), elements.div_ceil(stride.max(1)), 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1000;

    fn lines(all: usize, work: u64) -> Vec<([usize; 3], u32, u32)> {
        let mut dispatch = DispatchBuilder::new(Kernel::new("gemm"));
        dispatch.lines(3, 7, all, work);
        let word = |piece: &DispatchBuilder, name: &str| {
            piece.words.iter().find(|(known, _)| *known == name).and_then(|(_, word)| *word).unwrap()
        };
        let pieces = dispatch.pieces(MOST);
        pieces.iter().map(|p| (p.workgroups, word(p, "first_line"), word(p, "end_line"))).collect()
    }

    #[test]
    fn lines_are_split_by_work_and_go_on_in_z() {
        assert_eq!(lines(100, 1), [([3, 100, 1], 0, 100)]);
        assert_eq!(lines(70_000, 1), [([3, 65_535, 2], 0, 70_000)]);
        assert_eq!(lines(5, 3 * MOST), [([3, 1, 1], 0, 1), ([3, 2, 1], 1, 3), ([3, 2, 1], 3, 5)]);
        // No further than to single lines.
        assert_eq!(lines(2, 9 * MOST).len(), 2);
    }
}
