"""Compiles FOLDER's kernels with the Vulkan driver that the environment names (see env.sh) and prints what the driver says of them:
index, processor seconds, subgroup size, the statistics as JSON, name; as tab-separated values."""
import argparse, json, os, re, time
import vulkan as vk
from vulkan import ffi

arg = argparse.ArgumentParser()
arg.add_argument('folder')
arg.add_argument('--only', help='regular expression on the name')
arg.add_argument('--vendor', default='any', help='whose GPU it is: kernels that only others get are left out')
arg.add_argument('--ir', help='folder for the internal representations, the ISA among them')
arg = arg.parse_args()

application = vk.VkApplicationInfo(pApplicationName='stats', applicationVersion=1, pEngineName='', engineVersion=1, apiVersion=vk.VK_MAKE_VERSION(1, 3, 0))
instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=application), None)
gpu = vk.vkEnumeratePhysicalDevices(instance)[0]
print('#', vk.vkGetPhysicalDeviceProperties(gpu).deviceName, flush=True)
asked = vk.VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR(pipelineExecutableInfo=1)
half = vk.VkPhysicalDeviceVulkan11Features(storageBuffer16BitAccess=1, pNext=vk.VkPhysicalDeviceVulkan12Features(shaderFloat16=1, pNext=asked))
queue = vk.VkDeviceQueueCreateInfo(queueFamilyIndex=0, queueCount=1, pQueuePriorities=[1.0])

def open_device(chain):
    info = vk.VkDeviceCreateInfo(pNext=chain, queueCreateInfoCount=1, pQueueCreateInfos=[queue], enabledExtensionCount=1, ppEnabledExtensionNames=['VK_KHR_pipeline_executable_properties'])
    return vk.vkCreateDevice(gpu, info, None)

try: device = open_device(half)
except vk.VkError as e:
    print('# no float16:', repr(e))
    device = open_device(asked)
get = lambda name: vk.vkGetDeviceProcAddr(device, name)
executables, statistics = get('vkGetPipelineExecutablePropertiesKHR'), get('vkGetPipelineExecutableStatisticsKHR')
text = lambda x: x if isinstance(x, str) else ffi.string(x).decode()

def compile(spirv, bindings):
    module = vk.vkCreateShaderModule(device, vk.VkShaderModuleCreateInfo(codeSize=len(spirv), pCode=spirv), None)
    kind = {'u': vk.VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, 's': vk.VK_DESCRIPTOR_TYPE_STORAGE_BUFFER}
    bound = [vk.VkDescriptorSetLayoutBinding(binding=int(b[:-2]), descriptorType=kind[b[-1]], descriptorCount=1, stageFlags=vk.VK_SHADER_STAGE_COMPUTE_BIT) for b in bindings.split(',')]
    sets = vk.vkCreateDescriptorSetLayout(device, vk.VkDescriptorSetLayoutCreateInfo(bindingCount=len(bound), pBindings=bound), None)
    layout = vk.vkCreatePipelineLayout(device, vk.VkPipelineLayoutCreateInfo(setLayoutCount=1, pSetLayouts=[sets]), None)
    stage = vk.VkPipelineShaderStageCreateInfo(stage=vk.VK_SHADER_STAGE_COMPUTE_BIT, module=module, pName='main')
    # Capture statistics (0x40) and internal representations (0x80).
    info = vk.VkComputePipelineCreateInfo(flags=0x40 | (0x80 if arg.ir else 0), stage=stage, layout=layout, basePipelineIndex=-1)
    start = time.process_time()
    made = vk.vkCreateComputePipelines(device, vk.VK_NULL_HANDLE, 1, [info], None)
    return made[0] if hasattr(made, '__getitem__') else made, time.process_time() - start

def save_ir(pipeline, at, stem):
    os.makedirs(arg.ir, exist_ok=True)
    # The wrapper's own function does not fill the buffers: call the driver's.
    info = ffi.new('VkPipelineExecutableInfoKHR*', dict(sType=vk.VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, pipeline=pipeline, executableIndex=at))
    raw = ffi.cast('PFN_vkGetPipelineExecutableInternalRepresentationsKHR', vk._vulkan.lib.vkGetDeviceProcAddr(device, b'vkGetPipelineExecutableInternalRepresentationsKHR'))
    count = ffi.new('uint32_t*')
    raw(device, info, count, ffi.NULL)
    found = ffi.new('VkPipelineExecutableInternalRepresentationKHR[]', count[0])
    for r in found: r.sType = vk.VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR
    raw(device, info, count, found)
    kept = [ffi.new('char[]', max(1, r.dataSize)) for r in found]
    for r, b in zip(found, kept): r.pData = b
    raw(device, info, count, found)
    for r, b in zip(found, kept):
        name = re.sub(r'\W+', '_', text(r.name))
        with open(f'{arg.ir}/{stem}.{name}.txt', 'w') as f: f.write(ffi.string(b).decode(errors='replace'))

for line in open(f'{arg.folder}/kernels.tsv'):
    index, bindings, owners, name = line.rstrip('\n').split('\t')
    if not {'any', arg.vendor} & set(owners.split(',')): continue
    if arg.only and not re.search(arg.only, name): continue
    with open(f'{arg.folder}/{index}.spv', 'rb') as f: spirv = f.read()
    try: pipeline, seconds = compile(spirv, bindings)
    except vk.VkError as e:
        print('#', name, repr(e), flush=True)
        continue
    for at, properties in enumerate(executables(device, vk.VkPipelineInfoKHR(pipeline=pipeline))):
        info = vk.VkPipelineExecutableInfoKHR(pipeline=pipeline, executableIndex=at)
        known = {text(x.name): x.value.f64 if x.format == 3 else x.value.u64 for x in statistics(device, info)}
        print(index, f'{seconds:.2f}', properties.subgroupSize, json.dumps(known), name, sep='\t', flush=True)
        if arg.ir: save_ir(pipeline, at, index)
