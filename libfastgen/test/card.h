/*
 * card.h - CUDA devices that exist on paper: the runtime's functions over host memory, with the limits of one card of a
 * table. Kernels do nothing, but a launch that the card would refuse is refused, by what the compiler says of the
 * kernel (registers, shared memory) and by what the library asks for. So a machine without a GPU can see on which cards
 * the library runs, and what becomes of calls that fail.
 */
#ifndef FG_TEST_CARD_H
#define FG_TEST_CARD_H

#ifdef __cplusplus
extern "C" {
#endif

/* From the table of compute capabilities in the CUDA programming guide; one card of each. */
typedef struct {
	const char *name;
	int arch;                  /* compute capability: 90 for 9.0 */
	int block, multiprocessor; /* the most shared memory of each, KiB */
	int multiprocessors;
} card;

/* Reads what the compiler said of the kernels of one object, from the file that `make` keeps beside it. */
void card_read_compiler(const char *file);

/* All devices are this card from here on. Forgets the refusals so far. */
void card_insert(const card *card);
/* Whether every kernel has code for the card, of its own or as PTX; kernels of another card's instructions aside. */
int card_has_code(void);

/* What fails from here on. */
typedef struct {
	const char *launch; /* launches of kernels with this in their name */
	int memory;         /* allocations, of the device and of pinned memory */
	int virtual_memory; /* all calls for memory whose addresses stay */
	int code;           /* finding a kernel's code */
	int threads;        /* starting a thread */
	int n_news;         /* how many uses of C++'s `new` succeed before one fails; 0 = none fails */
} card_faults;
extern card_faults card_fail;

/* What the card has refused, in words, and how often it has refused something. */
extern char card_refusal[1024];
extern int card_refusals;
/* How many kernels there are, and the name of one that no card has launched so far; NULL if there is none. */
int card_kernels(void);
const char *card_never_launched(void);

extern long card_mapped;     /* bytes of memory whose addresses stay while it is away, of those that are there */
extern int card_imports;     /* memory of other processes that is open */
extern int card_events;      /* that exist */
extern int card_cupti;       /* whether the machine has CUPTI */
extern int card_untold;      /* whether CUPTI leaves out the first part of each graph */
extern double card_clock_ms; /* the cards' time, which every recorded event takes 5 microseconds further */

#ifdef __cplusplus
}
#endif

#endif
