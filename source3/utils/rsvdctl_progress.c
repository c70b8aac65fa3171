/*
 * rsvdctl: how far it is
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include <sys/ioctl.h>

/* What takes no longer needs no bar. */
#define PROGRESS_AFTER_MSEC 1000
#define PROGRESS_EVERY_MSEC 200

struct rsvdctl_progress {
	const char *what;
	bool on_terminal;	/* or nothing is shown */
	uint64_t done;
	uint64_t total;
	uint64_t command_msec;	/* when all of it began ... */
	uint64_t started_msec;	/* ... and what it is at */
	uint64_t shown_msec;	/* 0: not yet */
};

static uint64_t progress_now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int progress_destructor(struct rsvdctl_progress *progress)
{
	if (progress->shown_msec != 0) {
		/* Erase to the end of the line. */
		fprintf(stderr, "\r\033[K");
		fflush(stderr);
	}
	return 0;
}

void rsvdctl_progress_start(struct rsvdctl *ctl, const char *what,
			    uint64_t total)
{
	struct rsvdctl_progress *progress = NULL;

	progress = talloc_zero(ctl->mem_ctx, struct rsvdctl_progress);
	if (progress == NULL) {
		return;
	}
	progress->what = what;
	progress->on_terminal = isatty(STDERR_FILENO);
	progress->total = MAX(total, 1);
	progress->started_msec = progress_now_msec();
	progress->command_msec = progress->started_msec;
	talloc_set_destructor(progress, progress_destructor);
	ctl->progress = progress;
}

void rsvdctl_progress_end(struct rsvdctl *ctl)
{
	TALLOC_FREE(ctl->progress);
}

static unsigned int progress_columns(void)
{
	struct winsize size = { .ws_col = 0 };

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
		return 80;
	}
	return size.ws_col;
}

static void progress_show(const struct rsvdctl_progress *progress,
			  uint64_t elapsed_msec)
{
	TALLOC_CTX *frame = talloc_stackframe();
	uint64_t done = MIN(progress->done, progress->total);
	double fraction = (double)done / progress->total;
	unsigned int columns = progress_columns();
	char *tail = NULL;
	unsigned int i, room, filled;

	tail = talloc_asprintf(
		frame, " %3u%%  %s/s  %"PRIu64" s left",
		(unsigned int)(fraction * 100),
		rsvdctl_size_string(frame, done * 1000.0 / elapsed_msec),
		done == 0 ? 0 : (uint64_t)(elapsed_msec / 1000.0 *
					   (1 - fraction) / fraction));
	if (tail == NULL) {
		TALLOC_FREE(frame);
		return;
	}

	fprintf(stderr, "\r%s", progress->what);
	room = strlen(progress->what) + strlen(tail) + 4;
	if (columns > room) {
		filled = fraction * (columns - room);
		fprintf(stderr, " [");
		for (i = 0; i < columns - room; i++) {
			fputc(i < filled ? '#' : '.', stderr);
		}
		fputc(']', stderr);
	}
	fprintf(stderr, "%s\033[K", tail);
	fflush(stderr);
	TALLOC_FREE(frame);
}

void rsvdctl_progress_update(struct rsvdctl *ctl, uint64_t done)
{
	struct rsvdctl_progress *progress = ctl->progress;
	uint64_t now;

	if (progress == NULL || !progress->on_terminal) {
		return;
	}
	progress->done = done;
	now = progress_now_msec();
	if (now - progress->command_msec < PROGRESS_AFTER_MSEC ||
	    now - progress->shown_msec < PROGRESS_EVERY_MSEC) {
		return;
	}
	progress->shown_msec = now;
	progress_show(progress, MAX(now - progress->started_msec, 1));
}

void rsvdctl_progress_guess(struct rsvdctl *ctl, uint64_t done, double total)
{
	if (ctl->progress != NULL) {
		ctl->progress->total = MAX(total, 1);
		rsvdctl_progress_update(ctl, done);
	}
}

void rsvdctl_progress_phase(struct rsvdctl *ctl, uint64_t done,
			    uint64_t total)
{
	struct rsvdctl_progress *progress = ctl->progress;

	if (progress == NULL) {
		rsvdctl_progress_start(ctl, ctl->command, total);
	} else if (total != progress->total || done < progress->done) {
		progress->total = MAX(total, 1);
		progress->started_msec = progress_now_msec();
	}
	rsvdctl_progress_update(ctl, done);
}
