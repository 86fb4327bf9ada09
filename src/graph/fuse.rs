//! Rewrites chains of primitive ops into fused ones, which save passes over memory and compute the same values.
//!
//! | chain | becomes |
//! |---|---|
//! | group norm | `GroupNormAffine`, applied by the ops that read it |
//! | `[concat]`, `[affine]`, `[SiLU]`, `[resample]`, convolution | the convolution's prologue |
//! | convolution, `[add embedding]`, `[add, one side perhaps resampled]` | the convolution's epilogue |
//! | the same chains without a convolution | `Modulate` |
//! | gradient of SiLU, of group norm | one `GroupNormGrad` |
//! | linear layers that read the same vector | one `EmbLayers` (see `gather`) |
//!
//! A chain's inner values must have one reader, except concatenations and norms, which are cheap to repeat.

use std::collections::HashMap;

use super::{Graph, Node, TensorId};
use crate::error::{Error, Result};
use crate::op::{Concat, Conv2d, GroupNorm, GroupNormAffine, GroupNormGrad, Modulate, Op, Prologue, Resample, Unary};

/// The fused graph; same inputs, outputs, parameters and values.
///
/// # Errors
/// None for a graph whose nodes passed their shape rules; a rule that fails here is a defect.
pub fn fuse(graph: &Graph) -> Result<Graph> {
    let mut fuser = Fuser {
        graph,
        uses: graph.uses(),
        fused: Graph::default(),
        map: vec![None; graph.nodes.len()],
        affines: HashMap::new(),
    };
    fuser.fused.params.clone_from(&graph.params);
    fuser.fused.param_ids.clone_from(&graph.param_ids);
    // From the results backwards, so that what a chain absorbs is never emitted. What no node reads is computed for
    // its effect: the sampler's in-place steps.
    for (i, node) in graph.nodes.iter().enumerate() {
        if node.op == Op::Input || fuser.uses[i] == 0 {
            fuser.emit(TensorId(i))?;
        }
    }
    for (name, id) in &graph.outputs {
        let id = fuser.emit(*id)?;
        fuser.fused.output(name, id);
    }
    super::gather::gather(&fuser.fused)
}

/// Why a node was not emitted.
enum Stop {
    /// This node must be emitted first.
    Needs(TensorId),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Fuser<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
    fused: Graph,
    map: Vec<Option<TensorId>>,
    /// The affine map of each norm.
    affines: HashMap<TensorId, TensorId>,
}

/// What a chain reads: its sources, the norm's map, and the prologue that applies them.
struct Chain {
    prologue: Prologue,
    inputs: Vec<TensorId>,
}

impl<'a> Fuser<'a> {
    fn node(&self, id: TensorId) -> &'a Node {
        &self.graph.nodes[id.0]
    }

    fn single(&self, id: TensorId) -> bool {
        self.uses[id.0] == 1
    }

    /// Emits `id` and what it reads, once. Not recursive, since networks may be deeper than the stack allows: a node that
    /// reads one not yet emitted is tried again after that.
    fn emit(&mut self, id: TensorId) -> Result<TensorId> {
        let mut pending = vec![id];
        while let Some(&next) = pending.last() {
            match self.attempt(next) {
                Ok(emitted) => {
                    self.map[next.0] = Some(emitted);
                    pending.pop();
                }
                Err(Stop::Needs(other)) => pending.push(other),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        self.map[id.0].ok_or_else(|| Error::Config(format!("node {} was not emitted", self.node(id).name)))
    }

    /// What `id` became.
    fn emitted(&self, id: TensorId) -> Result<TensorId, Stop> {
        self.map[id.0].ok_or(Stop::Needs(id))
    }

    /// Emits `id` if all that it reads was emitted. Until that is certain, nothing is appended, since a second attempt would
    /// append it again.
    fn attempt(&mut self, id: TensorId) -> Result<TensorId, Stop> {
        if let Some(done) = self.map[id.0] {
            return Ok(done);
        }
        let node = self.node(id);
        Ok(match &node.op {
            Op::Input => {
                self.fused.begin(node.segment);
                self.fused.input(&node.name, node.shape)
            }
            Op::Conv2d(conv) => self.convolution(node, conv, None, None)?,
            Op::Add(_) => match self.residual(node)? {
                Some(emitted) => emitted,
                None => self.plain(node)?,
            },
            Op::AddEmbedding(_) => match &self.node(node.inputs[0]).op {
                Op::Conv2d(conv) if self.single(node.inputs[0]) => {
                    self.convolution(self.node(node.inputs[0]), conv, Some(node.inputs[1]), None)?
                }
                _ => self.plain(node)?,
            },
            Op::GroupNorm(_) => self.modulate(node, id)?,
            Op::GroupNormGrad(grad) => self.norm_gradient(node, grad)?,
            Op::Unary(Unary::SILU) if self.begins_with_norm(id) => self.modulate(node, id)?,
            Op::Resample(_) if self.begins_with_norm(id) => self.modulate(node, id)?,
            _ => self.plain(node)?,
        })
    }

    fn push(&mut self, node: &Node, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId> {
        self.fused.begin(node.segment);
        self.fused.push(node.name.clone(), op, inputs, &node.params)
    }

    fn plain(&mut self, node: &Node) -> Result<TensorId, Stop> {
        let inputs = node.inputs.iter().map(|input| self.emitted(*input)).collect::<Result<Vec<_>, Stop>>()?;
        Ok(self.push(node, node.op.clone(), &inputs)?)
    }

    fn modulate(&mut self, node: &Node, id: TensorId) -> Result<TensorId, Stop> {
        let Chain { prologue, inputs } = self.chain(id, true)?;
        self.fused.begin(node.segment);
        Ok(self.fused.push(node.name.clone(), Modulate { prologue, gain: 1.0 }, &inputs, &[])?)
    }

    /// Whether the chain that ends in `id` holds a group norm.
    fn begins_with_norm(&self, id: TensorId) -> bool {
        let node = self.node(id);
        match &node.op {
            Op::GroupNorm(_) => true,
            Op::Resample(_) | Op::Unary(Unary::SILU) => self.begins_with_norm(node.inputs[0]),
            _ => false,
        }
    }

    /// Follows the chain that ends in `id` towards its inputs, and collects a prologue; `id` itself is always absorbed where
    /// `whole`.
    fn chain(&mut self, id: TensorId, whole: bool) -> Result<Chain, Stop> {
        let mut prologue = Prologue::default();
        let mut at = id;
        let absorb = |fuser: &Self, at: TensorId| (whole && at == id) || fuser.single(at);
        if let Op::Resample(resample) = self.node(at).op
            && absorb(self, at)
        {
            prologue.resample = Some(resample);
            at = self.node(at).inputs[0];
        }
        if self.node(at).op == Op::Unary(Unary::SILU) && absorb(self, at) && self.begins_with_norm(at) {
            prologue.silu = true;
            at = self.node(at).inputs[0];
        }
        let mut inputs = Vec::new();
        if let Op::GroupNorm(GroupNorm { scale_shift }) = self.node(at).op {
            let norm = self.node(at);
            let sources = self.sources(norm.inputs[0])?;
            let mut operands = sources.clone();
            if scale_shift {
                operands.push(self.emitted(norm.inputs[1])?);
            }
            let affine = match self.affines.get(&at) {
                Some(done) => *done,
                None => {
                    let affine =
                        self.push(norm, GroupNormAffine { two_sources: sources.len() == 2, scale_shift }, &operands)?;
                    self.affines.insert(at, affine);
                    affine
                }
            };
            prologue.affine = true;
            prologue.two_sources = sources.len() == 2;
            inputs.extend(sources);
            inputs.push(affine);
        } else {
            let sources = self.sources(at)?;
            prologue.two_sources = sources.len() == 2;
            inputs.extend(sources);
        }
        Ok(Chain { prologue, inputs })
    }

    /// One tensor, or the two that a concatenation joins (where kernels can read two: whole vec4s of channels).
    fn sources(&mut self, id: TensorId) -> Result<Vec<TensorId>, Stop> {
        let node = self.node(id);
        if node.op == Op::Concat(Concat) && node.inputs.iter().all(|i| self.graph.shape(*i).c.is_multiple_of(4)) {
            return node.inputs.iter().map(|input| self.emitted(*input)).collect();
        }
        Ok(vec![self.emitted(id)?])
    }

    fn convolution(
        &mut self,
        node: &Node,
        conv: &Conv2d,
        embedding: Option<TensorId>,
        residual: Option<(TensorId, Option<Resample>)>,
    ) -> Result<TensorId, Stop> {
        let Chain { prologue, mut inputs } = self.chain(node.inputs[0], false)?;
        let mut fused = Conv2d { prologue, ..conv.clone() };
        if let Some(embedding) = embedding {
            fused.epilogue.embedding = true;
            inputs.push(self.emitted(embedding)?);
        }
        if let Some((source, resample)) = residual {
            fused.epilogue.residual = Some(resample);
            inputs.push(self.emitted(source)?);
        }
        Ok(self.push(node, fused, &inputs)?)
    }

    /// The gradient of a norm absorbs that of the SiLU that follows the norm.
    fn norm_gradient(&mut self, node: &Node, grad: &GroupNormGrad) -> Result<TensorId, Stop> {
        let mut fused = grad.clone();
        let mut inputs = node.inputs.clone();
        let following = self.node(inputs[1]);
        if following.op == Op::Unary(Unary { adjoint: true, ..Unary::SILU })
            && self.single(inputs[1])
            && self.recomputes(following.inputs[0], node)
        {
            fused.silu = true;
            inputs[1] = following.inputs[1];
        }
        let inputs = inputs.into_iter().map(|input| self.emitted(input)).collect::<Result<Vec<_>, Stop>>()?;
        Ok(self.push(node, fused, &inputs)?)
    }

    /// Whether `z` is the norm whose gradient `grad` is, which recomputes it.
    fn recomputes(&self, z: TensorId, grad: &Node) -> bool {
        let norm = self.node(z);
        matches!(norm.op, Op::GroupNorm(_))
            && norm.inputs[0] == grad.inputs[0]
            && norm.inputs.get(1) == grad.inputs.get(2)
            && norm.params == grad.params
    }

    /// A sum whose one side is a convolution: the other becomes its residual.
    fn residual(&mut self, node: &Node) -> Result<Option<TensorId>, Stop> {
        for (conv_id, other) in [(node.inputs[1], node.inputs[0]), (node.inputs[0], node.inputs[1])] {
            let candidate = self.node(conv_id);
            let Op::Conv2d(conv) = &candidate.op else { continue };
            if !self.single(conv_id) {
                continue;
            }
            let residual = match self.node(other).op {
                Op::Resample(resample) if self.single(other) => (self.node(other).inputs[0], Some(resample)),
                _ => (other, None),
            };
            return self.convolution(candidate, conv, None, Some(residual)).map(Some);
        }
        Ok(None)
    }
}
