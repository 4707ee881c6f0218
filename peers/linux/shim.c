/* The parts of shim.h that are not worth inlining. */
#include "shim.h"

#include <stdio.h>
#include <sys/mman.h>

/* Bytes a cache of objects grows by. */
#define PIECE_BYTES SZ_2M

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

/* Pieces of memory that no cache has. */
static struct peers_object *pieces;
static spinlock_t pieces_lock;

/* A huge page: a kernel reaches all memory through such, and so seldom misses in the CPU's TLB. */
static struct peers_object *piece_alloc(void)
{
    struct peers_object *piece;

    spin_lock(&pieces_lock);
    piece = pieces;
    if (piece)
        pieces = piece->next;
    spin_unlock(&pieces_lock);
    if (piece)
        return piece;
    piece = aligned_alloc(PIECE_BYTES, PIECE_BYTES);
    if (piece)
        madvise(piece, PIECE_BYTES, MADV_HUGEPAGE);
    return piece;
}

/* Its objects are gone, so that the next cache's lie in order again, as in a kernel that has just booted. */
void kmem_cache_destroy(struct kmem_cache *cache)
{
    if (!cache)
        return;
    spin_lock(&pieces_lock);
    while (cache->memory) {
        struct peers_object *piece = cache->memory;
        cache->memory = piece->next;
        piece->next = pieces;
        pieces = piece;
    }
    spin_unlock(&pieces_lock);
    free(cache);
}

/*
 * A slab's objects in order, but from a random one on. Debian's kernels shuffle them (SLAB_FREELIST_RANDOM), so that nodes
 * that a balanced tree has at distances of powers of two do not share sets of the CPU's caches; that they are in order
 * besides is better than there: the CPU foresees long walks.
 */
static struct peers_object *turned(char *slab, size_t count, size_t stride, struct peers_object *list)
{
    static unsigned long seed = 1;
    unsigned long turn;

    spin_lock(&pieces_lock);
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    turn = seed >> 33;
    spin_unlock(&pieces_lock);
    for (size_t n = count; n--;) {
        struct peers_object *object = (void *)(slab + (n + turn) % count * stride);
        object->next = list;
        list = object;
    }
    return list;
}

noinline struct peers_object *peers_refill(struct kmem_cache *cache)
{
    size_t in_a_slab = PAGE_SIZE / cache->stride;
    struct peers_object *piece = piece_alloc();
    struct peers_object *list = NULL;

    if (!piece || !in_a_slab)
        return NULL;
    spin_lock(&cache->lock);
    piece->next = cache->memory;
    cache->memory = piece;
    /* The lowest slab is handed out first; the first page is kept for the link. */
    for (size_t slab = PIECE_BYTES - PAGE_SIZE; slab; slab -= PAGE_SIZE)
        list = turned((char *)piece + slab, in_a_slab, cache->stride, list);
    spin_unlock(&cache->lock);
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
