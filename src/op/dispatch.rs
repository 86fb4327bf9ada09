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
#[derive(Debug)]
pub struct DispatchBuilder {
    pub(crate) kernel: Kernel,
    pub(crate) buffers: Vec<(&'static str, Resource)>,
    pub(crate) words: Vec<(&'static str, Option<u32>)>,
    pub(crate) workgroups: [usize; 3],
}

impl DispatchBuilder {
    /// Starts the description of a dispatch.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self { kernel, buffers: Vec::new(), words: Vec::new(), workgroups: [0, 0, 0] }
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

    /// The grid of 8 x 8 workgroups over (columns, rows); rows go on in z, 65,535 workgroups at a time.
    pub fn tiles(&mut self, columns: usize, rows: usize) -> &mut Self {
        let groups = rows.div_ceil(8);
        self.groups([columns.div_ceil(8), groups.min(65_535), groups.div_ceil(65_535)])
    }

    /// The grid of workgroups of 64 over `elements`, in rows of 32,768 workgroups.
    pub fn elements(&mut self, elements: usize) -> &mut Self {
        let stride = elements.min(64 * 32_768);
        self.word("elements", elements).word("stride", stride);
        self.groups([stride.div_ceil(64), elements.div_ceil(stride.max(1)), 1])
    }
}
