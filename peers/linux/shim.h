/*
 * What drivers/iommu/iova.c, drivers/iommu/io-pgtable-arm.c and lib/rbtree.c of Linux 6.12 need of the rest of a
 * kernel, for a process. Written for this project from what those files use.
 *
 * Nothing here is dearer than in a kernel at its best, so that figures taken with it flatter Linux if anything:
 * - a lock that nobody holds is one locked operation and a store; turning interrupts off costs nothing;
 * - memory for objects and pages is a list per CPU, without accounts;
 * - a CPU is a thread's number, and what belongs to it is one addition away;
 * - barriers towards a device are the compiler's: x86 needs no more among stores to memory;
 * - delayed work is never done, and CPUs never go away.
 */
#ifndef PEERS_SHIM_H
#define PEERS_SHIM_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#undef __always_inline

/* Types. */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef long long s64;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;
typedef unsigned int gfp_t;

/* The compiler. */
#define __always_inline inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define __percpu
#define barrier() __asm__ __volatile__("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define static_assert(condition, ...) _Static_assert(condition, #condition)

/* Modules, of which there are none. */
#define IS_REACHABLE(option) 1
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define MODULE_AUTHOR(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_LICENSE(text)

/* What must not happen. */
void peers_warn(const char *file, int line);
_Noreturn void peers_bug(const char *file, int line);
#define WARN_ON(condition)                                                                                             \
    ({                                                                                                                 \
        bool warned_ = (condition);                                                                                    \
        if (unlikely(warned_))                                                                                         \
            peers_warn(__FILE__, __LINE__);                                                                            \
        unlikely(warned_);                                                                                             \
    })
#define BUG_ON(condition)                                                                                              \
    do {                                                                                                               \
        if (unlikely(condition))                                                                                       \
            peers_bug(__FILE__, __LINE__);                                                                             \
    } while (0)
#define VM_BUG_ON(condition) ((void)sizeof(!!(condition)))
#define pr_err(...) ((void)0)
#define dev_err(...) ((void)0)
#define kmemleak_transient_leak(pointer) ((void)0)

/* Numbers. */
#ifndef ULLONG_MAX
#define ULLONG_MAX (~0ULL)
#endif
#define BITS_PER_LONG 64
#define BIT(n) (1UL << (n))
#define GENMASK_ULL(high, low) ((~0ULL << (low)) & (~0ULL >> (63 - (high))))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define ALIGN(n, to) (((n) + ((typeof(n))(to) - 1)) & ~((typeof(n))(to) - 1))
#define ALIGN_DOWN(n, to) ((n) & ~((typeof(n))(to) - 1))
#define min(a, b)                                                                                                      \
    ({                                                                                                                 \
        typeof(a) a_ = (a);                                                                                            \
        typeof(b) b_ = (b);                                                                                            \
        a_ < b_ ? a_ : b_;                                                                                             \
    })
#define min_t(type, a, b) min((type)(a), (type)(b))
#define swap(a, b)                                                                                                     \
    do {                                                                                                               \
        typeof(a) old_ = (a);                                                                                          \
        (a) = (b);                                                                                                     \
        (b) = old_;                                                                                                    \
    } while (0)

static inline unsigned int fls_long(unsigned long word) { return word ? 64 - __builtin_clzl(word) : 0; }
static inline unsigned long __ffs(unsigned long word) { return __builtin_ctzl(word); }
static inline unsigned long __fls(unsigned long word) { return 63 - __builtin_clzl(word); }
static inline bool is_power_of_2(unsigned long n) { return n && !(n & (n - 1)); }
static inline unsigned int order_base_2(unsigned long n) { return n > 1 ? fls_long(n - 1) : 0; }
static inline unsigned long roundup_pow_of_two(unsigned long n) { return 1UL << order_base_2(n); }
#define ilog2(n) ((int)__fls(n))

#define SZ_4K 0x1000UL
#define SZ_16K 0x4000UL
#define SZ_64K 0x10000UL
#define SZ_2M 0x200000UL
#define SZ_32M 0x2000000UL
#define SZ_512M 0x20000000UL
#define SZ_1G 0x40000000UL

/* Order. */
#define wmb() barrier()
#define dma_wmb() barrier()
#define cmpxchg64_relaxed(pointer, old, new) __sync_val_compare_and_swap(pointer, old, new)
#define rcu_assign_pointer(pointer, value) __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)
#define rcu_dereference_raw(pointer) READ_ONCE(pointer)

static inline void set_bit(long bit, unsigned long *word) { __sync_fetch_and_or(word, BIT(bit)); }

/* Locks. */
typedef struct {
    int held;
} spinlock_t;

static inline void spin_lock_init(spinlock_t *lock) { lock->held = 0; }

#if defined(__x86_64__)
#define cpu_relax() __builtin_ia32_pause()
#else
#define cpu_relax() barrier()
#endif

static __always_inline void spin_lock(spinlock_t *lock)
{
    while (unlikely(__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE)))
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED))
            cpu_relax();
}

static __always_inline void spin_unlock(spinlock_t *lock) { __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE); }

#define spin_lock_irqsave(lock, flags) ((void)((flags) = 0), spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_unlock(lock))
#define assert_spin_locked(lock) ((void)(lock))
#define DEFINE_MUTEX(name) spinlock_t name
#define mutex_lock(lock) spin_lock(lock)
#define mutex_unlock(lock) spin_unlock(lock)

/* CPUs. */
#define PEERS_CPUS 8
/* From one CPU's copy of a variable to the next one's. */
#define PEERS_PERCPU_BYTES 256
extern __thread unsigned long peers_cpu __attribute__((tls_model("initial-exec")));

#define for_each_online_cpu(cpu) for ((cpu) = 0; (cpu) < PEERS_CPUS; (cpu)++)
#define for_each_possible_cpu(cpu) for_each_online_cpu(cpu)
#define num_online_cpus() PEERS_CPUS
#define cache_line_size() 64
#define per_cpu_ptr(pointer, cpu) ((typeof(pointer))((char *)(pointer) + (unsigned long)(cpu)*PEERS_PERCPU_BYTES))
#define raw_cpu_ptr(pointer) per_cpu_ptr(pointer, peers_cpu)
void *__alloc_percpu(size_t size, size_t align);
void free_percpu(void *pointer);

struct hlist_node {
    struct hlist_node *next, **pprev;
};
#define hlist_entry_safe(node, type, member) ((node) ? container_of(node, type, member) : NULL)
enum { CPUHP_IOMMU_IOVA_DEAD };
#define cpuhp_setup_state_multi(state, name, up, down) ((void)(down), 0)
#define cpuhp_remove_multi_state(state) ((void)0)
#define cpuhp_state_add_instance_nocalls(state, node) ((void)(node), 0)
#define cpuhp_state_remove_instance_nocalls(state, node) ((void)(node))

/* Work that is put off. */
struct work_struct {
    int unused;
};
struct delayed_work {
    struct work_struct work;
};
#define INIT_DELAYED_WORK(work, function) ((void)(work), (void)(function))
#define schedule_delayed_work(work, delay) ((void)(work))
#define cancel_delayed_work_sync(work) ((void)(work))
#define msecs_to_jiffies(ms) (ms)

/* Memory. */
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
enum { GFP_KERNEL = 1, GFP_ATOMIC = 2, __GFP_NOWARN = 4, __GFP_ZERO = 8, __GFP_HIGHMEM = 16 };
enum { SLAB_HWCACHE_ALIGN = 1 };
#define kmalloc(size, flags) malloc(size)
#define kcalloc(count, size, flags) calloc(count, size)
#define kfree(pointer) free(pointer)

struct peers_object {
    struct peers_object *next;
};
struct kmem_cache {
    size_t size, stride;
    spinlock_t lock;
    /* All memory it has taken, linked at the head of each piece. */
    struct peers_object *memory;
    struct {
        struct peers_object *free;
    } __attribute__((aligned(64))) cpu[PEERS_CPUS];
};
struct kmem_cache *kmem_cache_create(const char *name, size_t size, size_t align, unsigned long flags, void *constructor);
void kmem_cache_destroy(struct kmem_cache *cache);
struct peers_object *peers_refill(struct kmem_cache *cache);

static __always_inline void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t flags)
{
    struct peers_object *object = cache->cpu[peers_cpu].free;
    if (unlikely(!object)) {
        object = peers_refill(cache);
        if (!object)
            return NULL;
    }
    cache->cpu[peers_cpu].free = object->next;
    return object;
}

static __always_inline void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t flags)
{
    void *object = kmem_cache_alloc(cache, flags);
    if (likely(object))
        memset(object, 0, cache->size);
    return object;
}

static __always_inline void kmem_cache_free(struct kmem_cache *cache, void *pointer)
{
    struct peers_object *object = pointer;
    object->next = cache->cpu[peers_cpu].free;
    cache->cpu[peers_cpu].free = object;
}

/* Physical addresses are virtual ones: no table to ask, no offset to add. */
#define virt_to_phys(pointer) ((phys_addr_t)(uintptr_t)(pointer))
#define __pa(pointer) virt_to_phys(pointer)
#define __va(phys) ((void *)(uintptr_t)(phys))
static inline int get_order(size_t size) { return order_base_2(DIV_ROUND_UP(size, PAGE_SIZE)); }
void *iommu_alloc_pages_node(int node, gfp_t flags, int order);
void iommu_free_pages(void *pointer, int order);

/* DMA of page tables, which coherent walks do without. */
struct device;
enum dma_data_direction { DMA_TO_DEVICE };
#define dev_to_node(dev) 0
#define dma_map_single(dev, pointer, size, direction) virt_to_phys(pointer)
#define dma_mapping_error(dev, dma) 0
#define dma_unmap_single(dev, dma, size, direction) ((void)(dma))
#define dma_sync_single_for_device(dev, dma, size, direction) ((void)(dma))

/* IOMMUs. */
enum {
    IOMMU_READ = 1 << 0,
    IOMMU_WRITE = 1 << 1,
    IOMMU_CACHE = 1 << 2,
    IOMMU_NOEXEC = 1 << 3,
    IOMMU_MMIO = 1 << 4,
    IOMMU_PRIV = 1 << 5,
    IOMMU_DIRTY_NO_CLEAR = 1 << 0,
};
struct iommu_dirty_bitmap;
#define iommu_dirty_bitmap_record(dirty, iova, size) ((void)(dirty))

/* Addresses that wait for an invalidation: `bytes` from `first` on, in pages of `page`. `queued` is what the code compiled asks for. */
struct iommu_iotlb_gather {
    unsigned long first;
    size_t bytes, page;
    bool queued;
};

static inline bool iommu_iotlb_gather_queued(struct iommu_iotlb_gather *gather) { return gather && gather->queued; }

#endif
