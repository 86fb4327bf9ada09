//! Every shader, in every specialisation that a plan can ask for, checked without a device: valid under WebGPU's base
//! capabilities, within its default limits, and translated to SPIR-V, MSL and HLSL as wgpu does it (the kernel for tensor
//! cores, where the language has them).

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::golden;
use conformance::{Kinds, ample, kernels};
use guided_diffusion::device::Caps;
use guided_diffusion::shader::{Access, KERNELS, Kernel, SHARED};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Module, ShaderStage, Statement, back};

/// Devices that differ in what kernels are legal on them; all have float16.
fn devices() -> Vec<Caps> {
    let subgroups = [4, 8, 16, 32].map(|size| Caps { subgroup: Some(size), wide_registers: true, ..ample() });
    let cooperative = [8, 16].map(|size| Caps { subgroup: Some(32), cooperative: Some(size), ..ample() });
    [ample()].into_iter().chain(subgroups).chain(cooperative).collect()
}

/// Parses and validates under no optional capability but those that the kernel is for. naga counts `unpack2x16float` as
/// one, for OpenGL's sake; in WGSL it belongs to the core, and every WebGPU device has it.
fn validate(text: &str, optional: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32 | optional)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    Ok((module, info))
}

/// Bindings as the template reports them equal those of the module; the module keeps WebGPU's default limits.
fn reflect(kernel: &Kernel, module: &Module) -> Result<(), String> {
    let shader = kernel.expand()?;
    let mut found = BTreeMap::new();
    let mut workgroup = 0;
    for (_, variable) in module.global_variables.iter() {
        let access = match variable.space {
            AddressSpace::Uniform => Access::Uniform,
            AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => Access::ReadWrite,
            AddressSpace::Storage { .. } => Access::Read,
            AddressSpace::WorkGroup => {
                workgroup += module.types[variable.ty].inner.size(module.to_ctx());
                continue;
            }
            AddressSpace::Private => continue,
            space => return Err(format!("a variable in {space:?}")),
        };
        let binding = variable.binding.as_ref().ok_or("a variable without a binding")?;
        if binding.group != 0 {
            return Err(format!("group {}", binding.group));
        }
        found.insert(binding.binding, (variable.name.clone().unwrap_or_default(), access));
    }
    let reported: BTreeMap<_, _> = (0..).zip(shader.bindings.iter().map(|b| (b.name.clone(), b.access))).collect();
    if found != reported {
        return Err(format!("naga finds {found:?}, the template reports {reported:?}"));
    }
    let parameters: Vec<String> = module
        .types
        .iter()
        .filter(|(_, t)| t.name.as_deref() == Some("Params"))
        .flat_map(|(_, t)| match &t.inner {
            naga::TypeInner::Struct { members, span } => {
                assert_eq!(*span as usize, 4 * members.len(), "{kernel}: parameters are words");
                members.iter().map(|m| m.name.clone().unwrap_or_default()).collect()
            }
            _ => Vec::new(),
        })
        .collect();
    if parameters != shader.parameters {
        return Err(format!("naga finds the parameters {parameters:?}, the template {:?}", shader.parameters));
    }
    let entry = module.entry_points.first().filter(|e| e.name == "main" && e.stage == ShaderStage::Compute);
    let entry = entry.ok_or("no compute entry point named main")?;
    let invocations: u32 = entry.workgroup_size.iter().product();
    let storage = found.values().filter(|(_, access)| *access != Access::Uniform).count();
    for (what, value, limit) in [
        // Adapters without tensor cores need not offer more than WebGPU's default.
        ("bytes of workgroup memory", workgroup, if kernel.uses_cooperative_matrices() { 32 << 10 } else { 16 << 10 }),
        ("invocations", invocations, 256),
        ("invocations in z", entry.workgroup_size[2], 64),
        ("storage buffers", storage as u32, 8),
        ("uniform buffers", (found.len() - storage) as u32, 1),
    ] {
        if value > limit {
            return Err(format!("{value} {what}; the limit is {limit}"));
        }
    }
    Ok(())
}

/// What `is_finite` is asked of was read from a buffer (shaders/shared/finite.wgsl).
fn asks_of_what_was_read(module: &Module) -> Result<(), String> {
    fn calls<'m>(
        block: &'m naga::Block,
        found: &mut Vec<(naga::Handle<naga::Function>, &'m [naga::Handle<Expression>])>,
    ) {
        for statement in block {
            match statement {
                Statement::Call { function, arguments, .. } => found.push((*function, arguments)),
                Statement::Block(block) => calls(block, found),
                Statement::If { accept, reject, .. } => [accept, reject].into_iter().for_each(|b| calls(b, found)),
                Statement::Loop { body, continuing, .. } => {
                    [body, continuing].into_iter().for_each(|b| calls(b, found));
                }
                Statement::Switch { cases, .. } => cases.iter().for_each(|case| calls(&case.body, found)),
                _ => {}
            }
        }
    }
    let functions = module.functions.iter().map(|(_, function)| function);
    for function in functions.chain(module.entry_points.iter().map(|entry| &entry.function)) {
        let read = |argument: naga::Handle<Expression>| {
            let Expression::As { expr, convert: None, .. } = function.expressions[argument] else { return false };
            let Expression::Load { mut pointer } = function.expressions[expr] else { return false };
            while let Expression::Access { base, .. } | Expression::AccessIndex { base, .. } =
                function.expressions[pointer]
            {
                pointer = base;
            }
            let Expression::GlobalVariable(variable) = function.expressions[pointer] else { return false };
            matches!(module.global_variables[variable].space, AddressSpace::Storage { .. })
        };
        let mut found = Vec::new();
        calls(&function.body, &mut found);
        let asks = |called: naga::Handle<naga::Function>| module.functions[called].name.as_deref() == Some("is_finite");
        if found.iter().any(|(called, arguments)| asks(*called) && !arguments.iter().all(|a| read(*a))) {
            return Err("is_finite is asked of a value that was not read from a buffer".into());
        }
    }
    Ok(())
}

fn policies(policy: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: policy,
        buffer: policy,
        image_load: policy,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

fn spirv(module: &Module, info: &ModuleInfo, checked: bool, kernel: &Kernel) -> Result<(), String> {
    // What wgpu's Vulkan back end allows on a device without optional features.
    use back::spv::Capability::{
        CooperativeMatrixKHR, DerivativeControl, Float16, GroupNonUniform, GroupNonUniformBallot,
        GroupNonUniformShuffle, Image1D, ImageQuery, Matrix, Sampled1D, Shader, StorageBuffer16BitAccess,
        StorageImageExtendedFormats, UniformAndStorageBuffer16BitAccess, VulkanMemoryModel,
    };
    let (subgroups, f16) = (kernel.uses_subgroups(), kernel.uses_f16());
    let core = [Shader, Matrix, Sampled1D, Image1D, ImageQuery, DerivativeControl, StorageImageExtendedFormats];
    let capabilities = core
        .into_iter()
        .chain(
            subgroups.then_some([GroupNonUniform, GroupNonUniformBallot, GroupNonUniformShuffle]).into_iter().flatten(),
        )
        .chain(
            f16.then_some([Float16, StorageBuffer16BitAccess, UniformAndStorageBuffer16BitAccess])
                .into_iter()
                .flatten(),
        )
        .chain(
            kernel
                .uses_cooperative_matrices()
                .then_some([CooperativeMatrixKHR, VulkanMemoryModel])
                .into_iter()
                .flatten(),
        );
    let options = back::spv::Options {
        lang_version: if subgroups { (1, 3) } else { (1, 0) },
        capabilities: Some(capabilities.collect()),
        bounds_check_policies: policies(policy(checked)),
        zero_initialize_workgroup_memory: if checked {
            back::spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
        } else {
            back::spv::ZeroInitializeWorkgroupMemoryMode::None
        },
        force_loop_bounding: checked,
        ..Default::default()
    };
    let pipeline = back::spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let words = back::spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|e| format!("SPIR-V: {e}"))?;
    if words.is_empty() { Err("SPIR-V: empty".into()) } else { Ok(()) }
}

fn msl(module: &Module, info: &ModuleInfo, checked: bool, kernel: &Kernel) -> Result<String, String> {
    let mut resources = back::msl::EntryPointResources::default();
    for (_, variable) in module.global_variables.iter() {
        if let Some(binding) = &variable.binding {
            let mutable = matches!(variable.space, AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE));
            let target = back::msl::BindTarget { buffer: Some(binding.binding as u8), mutable, ..Default::default() };
            resources.resources.insert(*binding, target);
        }
    }
    // Lengths of runtime-sized arrays, which bounds checks read.
    resources.sizes_buffer = Some(30);
    let options = back::msl::Options {
        lang_version: match (kernel.uses_cooperative_matrices(), kernel.uses_subgroups()) {
            (true, _) => (2, 3),
            (false, true) => (2, 1),
            (false, false) => (2, 0),
        },
        per_entry_point_map: [("main".to_owned(), resources)].into_iter().collect(),
        fake_missing_bindings: false,
        bounds_check_policies: policies(policy(checked)),
        zero_initialize_workgroup_memory: checked,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let pipeline =
        back::msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())), ..Default::default() };
    let (text, translation) =
        back::msl::write_string(module, info, &options, &pipeline).map_err(|e| format!("MSL: {e}"))?;
    translation.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| format!("MSL: {e}")))?;
    if text.contains("kernel void") { Ok(text) } else { Err("MSL: no kernel".into()) }
}

fn hlsl(module: &Module, info: &ModuleInfo, checked: bool, kernel: &Kernel) -> Result<(), String> {
    use back::hlsl::ShaderModel::{V5_1, V6_0, V6_2};
    let mut options = back::hlsl::Options {
        shader_model: match (kernel.uses_f16(), kernel.uses_subgroups()) {
            (true, _) => V6_2,
            (false, true) => V6_0,
            (false, false) => V5_1,
        },
        fake_missing_bindings: false,
        zero_initialize_workgroup_memory: checked,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..Default::default()
    };
    for (_, variable) in module.global_variables.iter() {
        if let Some(binding) = &variable.binding {
            let target =
                back::hlsl::BindTarget { register: binding.binding, restrict_indexing: true, ..Default::default() };
            options.binding_map.insert(*binding, target);
        }
    }
    // wgpu passes the number of workgroups where a shader asks for it; none of ours does.
    let pipeline = back::hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let reflection = back::hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    reflection.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| format!("HLSL: {e}")))?;
    if text.contains("[numthreads(") { Ok(()) } else { Err("HLSL: no kernel".into()) }
}

/// Cooperative matrices in MSL and HLSL. Metal has only those of 8 x 8; naga writes others too, by names that do not exist,
/// so that such a kernel must not be legal there. HLSL has none, and naga's writer panics at them.
fn cooperative(size: i64, msl: &str) -> Result<(), String> {
    let types = ["half", "float"].map(|scalar| format!("simdgroup_{scalar}{size}x{size}"));
    if let Some(missing) = types.iter().find(|name| !msl.contains(*name)) {
        return Err(format!("MSL: no {missing}"));
    }
    match back::hlsl::supported_capabilities().contains(Capabilities::COOPERATIVE_MATRIX) {
        true => Err("HLSL: naga has cooperative matrices now, which are to be translated".into()),
        false => Ok(()),
    }
}

fn policy(checked: bool) -> BoundsCheckPolicy {
    if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked }
}

fn check(kernel: &Kernel) -> Result<(), String> {
    let mut optional = Capabilities::empty();
    optional.set(Capabilities::SUBGROUP, kernel.uses_subgroups());
    optional.set(Capabilities::SHADER_FLOAT16, kernel.uses_f16());
    optional.set(Capabilities::COOPERATIVE_MATRIX, kernel.uses_cooperative_matrices());
    let (module, info) = validate(&kernel.expand()?.text, optional)?;
    reflect(kernel, &module)?;
    asks_of_what_was_read(&module)?;
    // Both ways that pipelines are compiled: with checks (browsers, tests) and without.
    for checked in [true, false] {
        spirv(&module, &info, checked, kernel)?;
        let metal = msl(&module, &info, checked, kernel)?;
        match kernel.defines.get("COOPERATIVE") {
            None => hlsl(&module, &info, checked, kernel)?,
            Some(size) => cooperative(*size, &metal)?,
        }
    }
    Ok(())
}

#[test]
fn every_specialisation_is_valid_and_translates() {
    let kernels = kernels(golden(), &devices(), Kinds::Each);
    let mut stems: BTreeMap<&str, usize> = BTreeMap::new();
    kernels.iter().for_each(|k| *stems.entry(k.stem).or_default() += 1);
    println!("{} specialisations: {stems:?}", kernels.len());
    let failures: Vec<String> = kernels.iter().filter_map(|k| check(k).err().map(|e| format!("{k}: {e}"))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_check_sees_what_it_should() {
    let valid = "@group(0) @binding(0) var<storage, read_write> a: array<f32>;\n@compute @workgroup_size(1) fn main() { a[0] = 1.0; }";
    assert!(validate(valid, Capabilities::empty()).is_ok());
    for broken in [
        "enable f16;\n@compute @workgroup_size(1) fn main() { var x: f16; }",
        "@compute @workgroup_size(1) fn main(@builtin(subgroup_size) s: u32) { }",
        "@group(0) @binding(0) var<storage> a: array<f32>;\n@compute @workgroup_size(1) fn main() { a[0] = 1.0; }",
        "@compute @workgroup_size(1) fn main() { let x = y; }",
    ] {
        assert!(validate(broken, Capabilities::empty()).is_err(), "{broken}");
    }
    for (argument, read) in [("bitcast<u32>(a[i])", true), ("bitcast<u32>(a[i] + 1.0)", false)] {
        let text = format!(
            "@group(0) @binding(0) var<storage, read_write> a: array<f32>;
            fn is_finite(bits: u32) -> bool {{ return bits != 0u; }}
            @compute @workgroup_size(1) fn main() {{
                for (var i = 0u; i < 4u; i++) {{ if (is_finite({argument})) {{ a[i] = 1.0; }} }}
            }}"
        );
        let (module, _) = validate(&text, Capabilities::empty()).unwrap();
        assert_eq!(asks_of_what_was_read(&module).is_ok(), read, "{argument}");
    }
}

#[test]
fn the_tables_list_what_is_on_disk() {
    let stems = |folder: &str| -> BTreeSet<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let shaders = files.filter(|path| path.extension().is_some_and(|e| e == "wgsl"));
        shaders.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let listed = |table: &[(&str, &str)]| table.iter().map(|(stem, _)| (*stem).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(stems("shaders"), listed(KERNELS));
    assert_eq!(stems("shaders/shared"), listed(SHARED));
}
