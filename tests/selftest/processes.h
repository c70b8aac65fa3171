/*
 * vfs_rsvd: the processes of the private smbd
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _PROCESSES_H_
#define _PROCESSES_H_

#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include "attach.h"

/* The pids of smbd's processes, ended by 0. */
static inline pid_t *smbd_processes(TALLOC_CTX *mem_ctx)
{
	char *path = talloc_asprintf(mem_ctx, "/proc/%s/task/*/children",
				     attach_env("SMBD_PID"));
	pid_t *pids = talloc_zero(mem_ctx, pid_t);
	size_t num = 0;
	glob_t found;
	size_t i;

	assert_int_equal(glob(path, 0, NULL, &found), 0);
	for (i = 0; i < found.gl_pathc; i++) {
		FILE *children = fopen(found.gl_pathv[i], "r");
		int pid;

		while (children != NULL && fscanf(children, "%d", &pid) == 1) {
			pids = talloc_realloc(mem_ctx, pids, pid_t, num + 2);
			pids[num++] = pid;
			pids[num] = 0;
		}
		if (children != NULL) {
			fclose(children);
		}
	}
	globfree(&found);
	return pids;
}

/* Kill the smbd processes that are not in *before*, and see them gone. */
static inline void kill_new_processes(TALLOC_CTX *mem_ctx,
				      const pid_t *before)
{
	pid_t *after = smbd_processes(mem_ctx);
	size_t i, j;
	int killed = 0;

	for (i = 0; after[i] != 0; i++) {
		int pidfd;
		bool is_new = true;

		for (j = 0; before[j] != 0; j++) {
			is_new &= before[j] != after[i];
		}
		if (!is_new) {
			continue;
		}
		pidfd = syscall(SYS_pidfd_open, after[i], 0);
		if (pidfd == -1) {
			continue;
		}
		assert_int_equal(kill(after[i], SIGKILL), 0);
		assert_int_equal(poll(&(struct pollfd) {
					      .fd = pidfd, .events = POLLIN },
				      1, 10000),
				 1);
		close(pidfd);
		killed += 1;
	}
	assert_true(killed > 0);
}

/* Stop smbd with all its processes, start it again, and see it there. */
static inline void restart_smbd(void)
{
	char *path = talloc_asprintf(NULL, "%s/smbd.pid",
				     attach_env("SELFTEST_PREFIX"));
	const char *old = getenv("SMBD_PID");
	char pid[32] = "";

	assert_int_equal(kill(atoi(attach_env("SELFTEST_PID")), SIGUSR1), 0);
	do {
		FILE *f = fopen(path, "r");

		assert_non_null(f);
		assert_int_equal(fscanf(f, "%31s", pid), 1);
		fclose(f);
		poll(NULL, 0, 10);
	} while (strcmp(pid, old) == 0);
	setenv("SMBD_PID", pid, 1);
	talloc_free(path);
}

#endif /* _PROCESSES_H_ */
