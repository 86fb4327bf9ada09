//! A step as an op describes it: a kernel, its buffers and its parameters by the shader's own names, its grid.

use super::recording::Resource;
use crate::shader::Kernel;

/// A step being described.
#[derive(Debug)]
pub struct StepBuilder {
    pub(super) kernel: Kernel,
    pub(super) buffers: Vec<(&'static str, Resource)>,
    pub(super) words: Vec<(&'static str, Option<u32>)>,
    pub(super) workgroups: [usize; 3],
}

impl StepBuilder {
    /// Starts one.
    pub(super) fn new(kernel: Kernel) -> Self {
        Self { kernel, buffers: Vec::new(), words: Vec::new(), workgroups: [0, 0, 0] }
    }

    /// Binds the shader's buffer `name`.
    pub fn bind(&mut self, name: &'static str, resource: impl Into<Resource>) -> &mut Self {
        self.buffers.push((name, resource.into()));
        self
    }

    /// Gives an integer parameter; one that the shader does not have is ignored, since variants differ.
    pub fn word(&mut self, name: &'static str, value: usize) -> &mut Self {
        self.words.push((name, u32::try_from(value).ok()));
        self
    }

    /// Gives a float parameter.
    pub fn float(&mut self, name: &'static str, value: f32) -> &mut Self {
        self.words.push((name, Some(value.to_bits())));
        self
    }

    /// Workgroups a dimension.
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
