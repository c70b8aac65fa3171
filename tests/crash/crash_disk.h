/*
 * vfs_rsvd: a file on a disk that remembers how it came to be
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_DISK_H_
#define _CRASH_DISK_H_

#include <setjmp.h>
#include <stdio.h>
#include "modules/vhdx/vhdx_storage.h"
#include "tests/crash/crash_file.h"

/* A number that a seed alone decides */
struct crash_random {
	uint64_t state;
};
uint64_t crash_random(struct crash_random *random, uint64_t below);
/* True in *percent* of 100 cases */
bool crash_chance(struct crash_random *random, unsigned percent);
/* One of *num* parts of *total*, whole numbers that make it up on average */
uint64_t crash_share(struct crash_random *random, uint64_t total,
		     uint64_t num);

/*
 * One file, and every change to it since it was made.
 *
 * The time of a disk is the number of events so far. "Completed" is what a
 * later flush covers.
 */
struct crash_disk;

/* What flushes of the engine do, to see that the harness notices */
enum crash_flush {
	CRASH_FLUSH_WORKS,
	CRASH_FLUSH_NEVER,	/* none does anything */
	CRASH_FLUSH_ASKED,	/* only those that the user waits for do */
	CRASH_FLUSH_LATE,	/* covers only what was there a flush ago */
};

/* Owns *file*, all of which is stable. */
struct crash_disk *crash_disk_new(TALLOC_CTX *mem_ctx,
				  struct crash_file *file,
				  enum crash_flush flush);
uint64_t crash_disk_time(const struct crash_disk *disk);
const struct crash_file *crash_disk_now(const struct crash_disk *disk);
/* The events, one a line */
void crash_disk_print(const struct crash_disk *disk, FILE *out);
void crash_disk_user_flushes(struct crash_disk *disk, bool flushes);

/*
 * One process's view of the disk. The asynchronous functions do nothing by
 * themselves, crash_port_step() moves on one of those that wait.
 */
struct crash_port;

struct crash_port *crash_port_new(TALLOC_CTX *mem_ctx,
				  struct crash_disk *disk,
				  struct crash_random *random);
struct vhdx_storage *crash_port_storage(struct crash_port *port);
/* False when there is nothing to move on */
bool crash_port_step(struct crash_port *port);

/*
 * SIGKILL: in the course of the *calls*th call from now on, the process is
 * gone; the call jumps to where the port says instead of returning.
 */
void crash_port_kill_in(struct crash_port *port, unsigned calls);
sigjmp_buf *crash_port_jump(struct crash_port *port);
/* Gone now; what was handed to the kernel may still happen. */
void crash_port_kill(struct crash_port *port);

/*
 * Power cuts: goes through the events of a disk.
 */
struct crash_cutter;

struct crash_cutter *crash_cutter_new(TALLOC_CTX *mem_ctx,
				      const struct crash_disk *disk);
/* The next moment; false after the last one */
bool crash_cutter_next(struct crash_cutter *cutter);
uint64_t crash_cutter_time(const struct crash_cutter *cutter);
/* Changes that a power cut now may or may not take back */
size_t crash_cutter_num_pending(const struct crash_cutter *cutter);
/* One of the files that a power cut now can leave; the caller frees it. */
struct crash_file *crash_cutter_cut(const struct crash_cutter *cutter,
				    struct crash_random *random);

#endif /* _CRASH_DISK_H_ */
