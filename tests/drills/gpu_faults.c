/* A Vulkan layer that fails on purpose, for tests/drills.rs: what no software driver does by itself.
 *
 *   DRILL_LOSE=CALL:K    the K-th CALL of the process (from 1), and all later ones of that device, report a lost device;
 *                        the next device is sound
 *   DRILL_LOSE_AGAIN=1   it is not: what follows a lost device is lost as well
 *   DRILL_REFUSE=CALL:K  the K-th CALL has no memory
 *   DRILL_COUNT=F        at the end, writes how many of each there were to file F
 *
 * A CALL is submit, memory (a block of it), buffer or pipeline.
 *
 * It knows one instance and passes everything else through. */
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

static PFN_vkGetInstanceProcAddr next_instance_proc;
static PFN_vkGetDeviceProcAddr next_device_proc;
static PFN_vkQueueSubmit next_submit;
static PFN_vkAllocateMemory next_allocate;
static PFN_vkCreateBuffer next_buffer;
static PFN_vkCreateComputePipelines next_pipelines;
enum call { SUBMIT, MEMORY, BUFFER, PIPELINE, CALLS };
static const char *const names[CALLS] = {"submit", "memory", "buffer", "pipeline"};
#include "calls.h"
static int lost, devices, lost_device;

/* Counts a call and says what becomes of it. */
static VkResult fate(enum call call) {
    long at = __sync_add_and_fetch(&counts[call], 1);
    if (!lost && meant("DRILL_LOSE", call) == at) {
        lost = 1;
        lost_device = devices;
    }
    if (lost && (lost_device == devices || getenv("DRILL_LOSE_AGAIN")))
        return VK_ERROR_DEVICE_LOST;
    return meant("DRILL_REFUSE", call) == at ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    VkResult result = fate(SUBMIT);
    return result ? result : next_submit(queue, count, infos, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *callbacks, VkDeviceMemory *memory) {
    VkResult result = fate(MEMORY);
    return result ? result : next_allocate(device, info, callbacks, memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice device, const VkBufferCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks, VkBuffer *buffer) {
    VkResult result = fate(BUFFER);
    return result ? result : next_buffer(device, info, callbacks, buffer);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *callbacks, VkPipeline *pipelines) {
    VkResult result = fate(PIPELINE);
    return result ? result : next_pipelines(device, cache, count, infos, callbacks, pipelines);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks, VkInstance *instance) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerInstanceCreateInfo *)link->pNext;
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    next_instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)next_instance_proc(VK_NULL_HANDLE, "vkCreateInstance");
    return create(info, callbacks, instance);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks, VkDevice *device) {
    VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerDeviceCreateInfo *)link->pNext;
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    next_device_proc = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)instance_proc(VK_NULL_HANDLE, "vkCreateDevice");
    VkResult result = create(physical, info, callbacks, device);
    if (result == VK_SUCCESS) {
        devices++;
        next_submit = (PFN_vkQueueSubmit)next_device_proc(*device, "vkQueueSubmit");
        next_allocate = (PFN_vkAllocateMemory)next_device_proc(*device, "vkAllocateMemory");
        next_buffer = (PFN_vkCreateBuffer)next_device_proc(*device, "vkCreateBuffer");
        next_pipelines = (PFN_vkCreateComputePipelines)next_device_proc(*device, "vkCreateComputePipelines");
    }
    return result;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetDeviceProcAddr(VkDevice device, const char *name) {
    if (!strcmp(name, "vkQueueSubmit")) return (PFN_vkVoidFunction)submit;
    if (!strcmp(name, "vkAllocateMemory")) return (PFN_vkVoidFunction)allocate;
    if (!strcmp(name, "vkCreateBuffer")) return (PFN_vkVoidFunction)create_buffer;
    if (!strcmp(name, "vkCreateComputePipelines")) return (PFN_vkVoidFunction)create_pipelines;
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)vkGetDeviceProcAddr;
    return next_device_proc(device, name);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance, const char *name) {
    if (!strcmp(name, "vkCreateInstance")) return (PFN_vkVoidFunction)create_instance;
    if (!strcmp(name, "vkCreateDevice")) return (PFN_vkVoidFunction)create_device;
    if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)vkGetInstanceProcAddr;
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)vkGetDeviceProcAddr;
    return next_instance_proc ? next_instance_proc(instance, name) : NULL;
}
