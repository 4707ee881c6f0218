/* The parts of shim.h that are not worth inlining. */
#include "shim.h"

#include <stdio.h>

/* Bytes a cache of objects grows by. */
#define GROWTH_BYTES 0x40000UL

__thread unsigned long peers_cpu;

void peers_warn(const char *file, int line) { fprintf(stderr, "linux: warning at %s:%d\n", file, line); }

void peers_bug(const char *file, int line)
{
    fprintf(stderr, "linux: bug at %s:%d\n", file, line);
    abort();
}

void *__alloc_percpu(size_t size, size_t align)
{
    void *pointer;

    if (size > PEERS_PERCPU_BYTES || align > PEERS_PERCPU_BYTES)
        return NULL;
    pointer = aligned_alloc(PEERS_PERCPU_BYTES, PEERS_CPUS * PEERS_PERCPU_BYTES);
    if (pointer)
        memset(pointer, 0, PEERS_CPUS * PEERS_PERCPU_BYTES);
    return pointer;
}

void free_percpu(void *pointer) { free(pointer); }

struct kmem_cache *kmem_cache_create(const char *name, size_t size, size_t align, unsigned long flags, void *constructor)
{
    struct kmem_cache *cache = aligned_alloc(64, ALIGN(sizeof(*cache), 64));
    size_t line = 64;

    if (!cache)
        return NULL;
    memset(cache, 0, sizeof(*cache));
    /* An object that fits twice into a line may share it. */
    if (flags & SLAB_HWCACHE_ALIGN)
        while (size <= line / 2)
            line /= 2;
    else
        line = sizeof(void *);
    if (align > line)
        line = align;
    cache->size = size;
    cache->stride = ALIGN(size, line);
    return cache;
}

/* What it handed out stays allocated: caches live as long as the process. */
void kmem_cache_destroy(struct kmem_cache *cache) { free(cache); }

noinline struct peers_object *peers_refill(struct kmem_cache *cache)
{
    size_t count = cache->stride < GROWTH_BYTES ? GROWTH_BYTES / cache->stride : 1;
    char *memory = aligned_alloc(PAGE_SIZE, ALIGN(count * cache->stride, PAGE_SIZE));
    struct peers_object *list = NULL;

    if (!memory)
        return NULL;
    /* The lowest address is handed out first. */
    while (count--) {
        struct peers_object *object = (void *)(memory + count * cache->stride);
        object->next = list;
        list = object;
    }
    cache->cpu[peers_cpu].free = list;
    return list;
}

static struct kmem_cache pages = { .size = PAGE_SIZE, .stride = PAGE_SIZE };

void *iommu_alloc_pages_node(int node, gfp_t flags, int order)
{
    void *pointer;

    if (order == 0)
        return kmem_cache_zalloc(&pages, flags);
    pointer = aligned_alloc(PAGE_SIZE << order, PAGE_SIZE << order);
    if (pointer)
        memset(pointer, 0, PAGE_SIZE << order);
    return pointer;
}

void iommu_free_pages(void *pointer, int order)
{
    if (!pointer)
        return;
    if (order == 0)
        kmem_cache_free(&pages, pointer);
    else
        free(pointer);
}
