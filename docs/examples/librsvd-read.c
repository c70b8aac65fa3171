/*
 * Copy the first MiB of a shared virtual disk to standard output.
 *
 *   cc librsvd-read.c $(pkg-config --cflags --libs librsvd)
 *   ./a.out SERVER SHARE PATH USER PASSWORD [PORT]
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <librsvd.h>
#include <stdio.h>
#include <stdlib.h>

static void check(NTSTATUS status, const char *what)
{
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "%s: %s\n", what,
			librsvd_status_string(NULL, status));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_connect_params connect = { .share = NULL };
	struct librsvd_open_params open = { .initiator_id = &initiator };
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	static char buf[1024 * 1024];
	size_t nread = 0;

	if (argc < 6) {
		return 2;
	}
	connect.server = argv[1];
	connect.share = argv[2];
	connect.user = argv[4];
	connect.password = argv[5];
	connect.port = argc > 6 ? atoi(argv[6]) : 0;
	open.path = argv[3];

	check(librsvd_connect(NULL, NULL, &connect, &conn), "connect");
	check(librsvd_open(conn, conn, &open, &disk), "open");
	check(librsvd_read(disk, buf, sizeof(buf), 0, &nread), "read");
	fwrite(buf, 1, nread, stdout);
	check(librsvd_close(disk), "close");
	talloc_free(conn);
	return 0;
}
