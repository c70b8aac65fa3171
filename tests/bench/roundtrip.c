/*
 * roundtrip: how long a SCSI command takes that moves next to no data
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Sends one command after the other, each when the answer to the last one is
 * there, and prints how long they took as a JSON object. The disk is one on
 * the server of ./waf selftest, or where a libiscsi URL says.
 */

#include "includes.h"
#include <jansson.h>
#include <popt.h>
#ifdef HAVE_LIBISCSI
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#endif
#include "tests/harness/connect.h"

#define ROUNDTRIP_KEY 0x726f756e64ULL

struct roundtrip_cdb {
	const char *name;
	uint8_t bytes[10];
	uint8_t length;
	uint32_t data_in_length;
};

static const struct roundtrip_cdb roundtrip_cdbs[] = {
	{ "test-unit-ready", { 0x00 }, 6, 0 },
	{ "read-keys", { 0x5e, 0x00, [7] = 0x10 }, 10, 4096 },
};

/* PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY */
static const struct roundtrip_cdb roundtrip_register = {
	"register", { 0x5f, 0x06, [8] = 24 }, 10, 0
};

/* A way to the disk: 0 when a command ended with GOOD. */
struct roundtrip {
	int (*execute)(struct roundtrip *trip,
		       const struct roundtrip_cdb *cdb, uint8_t *out,
		       size_t out_length);
	struct librsvd_disk *disk;
#ifdef HAVE_LIBISCSI
	struct iscsi_context *iscsi;
	int lun;
#endif
};

static int roundtrip_rsvd_execute(struct roundtrip *trip,
				  const struct roundtrip_cdb *cdb,
				  uint8_t *out, size_t out_length)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct librsvd_scsi_command command = {
		.cdb = cdb->bytes,
		.cdb_length = cdb->length,
		.data_out = out,
		.data_out_length = out_length,
		.data_in_length = cdb->data_in_length,
	};
	struct librsvd_scsi_result result;
	NTSTATUS status;

	status = librsvd_scsi(frame, trip->disk, &command, &result);
	TALLOC_FREE(frame);
	if (!NT_STATUS_IS_OK(status)) {
		return -1;
	}
	return result.sense.scsi_status;
}

static int roundtrip_rsvd_connect(TALLOC_CTX *mem_ctx, struct roundtrip *trip,
				  const char *path)
{
	struct librsvd_connect_params connect = harness_connect_params();
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = path,
		.initiator_id = &initiator,
	};
	struct tevent_context *ev = tevent_context_init(mem_ctx);
	struct librsvd_conn *conn = NULL;
	NTSTATUS status;

	if (ev == NULL) {
		return -1;
	}
	connect.signing = LIBRSVD_OFF;
	connect.encryption = LIBRSVD_OFF;
	status = librsvd_connect(mem_ctx, ev, &connect, &conn);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_open(mem_ctx, conn, &params, &trip->disk);
	}
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "roundtrip: %s: %s\n", path,
			librsvd_status_string(mem_ctx, status));
		return -1;
	}
	trip->execute = roundtrip_rsvd_execute;
	return 0;
}

#ifdef HAVE_LIBISCSI

static int roundtrip_iscsi_execute(struct roundtrip *trip,
				   const struct roundtrip_cdb *cdb,
				   uint8_t *out, size_t out_length)
{
	struct iscsi_data data = { .data = out, .size = out_length };
	unsigned char bytes[sizeof(cdb->bytes)];
	struct scsi_task *task = NULL;
	int direction = SCSI_XFER_NONE;
	int length = 0;
	int status;

	if (out_length > 0) {
		direction = SCSI_XFER_WRITE;
		length = out_length;
	} else if (cdb->data_in_length > 0) {
		direction = SCSI_XFER_READ;
		length = cdb->data_in_length;
	}
	memcpy(bytes, cdb->bytes, sizeof(bytes));
	task = scsi_create_task(cdb->length, bytes, direction, length);
	if (task == NULL) {
		return -1;
	}
	if (iscsi_scsi_command_sync(trip->iscsi, trip->lun, task,
				    out_length > 0 ? &data : NULL) == NULL) {
		scsi_free_scsi_task(task);
		return -1;
	}
	status = task->status;
	scsi_free_scsi_task(task);
	return status;
}

static int roundtrip_iscsi_connect(struct roundtrip *trip, const char *text)
{
	struct iscsi_url *url = NULL;
	int ret = -1;

	trip->iscsi = iscsi_create_context("iqn.2013-08.org.samba:roundtrip");
	if (trip->iscsi == NULL) {
		return -1;
	}
	url = iscsi_parse_full_url(trip->iscsi, text);
	if (url != NULL &&
	    iscsi_set_targetname(trip->iscsi, url->target) == 0 &&
	    iscsi_set_session_type(trip->iscsi, ISCSI_SESSION_NORMAL) == 0 &&
	    iscsi_set_header_digest(trip->iscsi,
				    ISCSI_HEADER_DIGEST_NONE) == 0 &&
	    iscsi_full_connect_sync(trip->iscsi, url->portal,
				    url->lun) == 0) {
		trip->lun = url->lun;
		trip->execute = roundtrip_iscsi_execute;
		ret = 0;
	}
	if (ret != 0) {
		fprintf(stderr, "roundtrip: %s: %s\n", text,
			iscsi_get_error(trip->iscsi));
	}
	if (url != NULL) {
		iscsi_destroy_url(url);
	}
	return ret;
}

#else

static int roundtrip_iscsi_connect(struct roundtrip *trip, const char *text)
{
	fprintf(stderr, "roundtrip: made without libiscsi\n");
	return -1;
}

#endif

/* So that there is a key to read */
static int roundtrip_key(struct roundtrip *trip, uint64_t key)
{
	uint8_t list[24] = { 0 };

	RSBVAL(list, 8, key);
	return trip->execute(trip, &roundtrip_register, list, sizeof(list));
}

static double roundtrip_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int roundtrip_compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static int roundtrip_report(double *usec, size_t num, double seconds)
{
	json_t *result = NULL;

	qsort(usec, num, sizeof(usec[0]), roundtrip_compare);
	result = json_pack("{s:I, s:f, s:f, s:f, s:f}",
			   "commands", (json_int_t)num, "iops", num / seconds,
			   "p50_usec", usec[num / 2],
			   "p99_usec", usec[num * 99 / 100],
			   "max_usec", usec[num - 1]);
	json_dumpf(result, stdout, JSON_COMPACT);
	puts("");
	json_decref(result);
	return 0;
}

static int roundtrip_run(TALLOC_CTX *mem_ctx, struct roundtrip *trip,
			 const struct roundtrip_cdb *cdb, double ramp_seconds,
			 double seconds)
{
	double *usec = talloc_array(mem_ctx, double, 65536);
	double start = roundtrip_usec() + 1e6 * ramp_seconds;
	double end = start + 1e6 * seconds;
	double before = roundtrip_usec(), after = before;
	size_t num = 0;

	while (usec != NULL && before < end) {
		int status = trip->execute(trip, cdb, NULL, 0);

		if (status != 0) {
			fprintf(stderr, "roundtrip: %s: SCSI status %d\n",
				cdb->name, status);
			return 1;
		}
		after = roundtrip_usec();
		if (before >= start) {
			if (num == talloc_array_length(usec)) {
				usec = talloc_realloc(mem_ctx, usec, double,
						      2 * num);
			}
			if (usec == NULL) {
				break;
			}
			usec[num] = after - before;
			num += 1;
		}
		before = after;
	}
	if (usec == NULL || num == 0) {
		fprintf(stderr, "roundtrip: nothing was done\n");
		return 1;
	}
	return roundtrip_report(usec, num, (after - start) / 1e6);
}

static const struct roundtrip_cdb *roundtrip_find(const char *name)
{
	size_t i;

	for (i = 0; name != NULL && i < ARRAY_SIZE(roundtrip_cdbs); i++) {
		if (strcmp(name, roundtrip_cdbs[i].name) == 0) {
			return &roundtrip_cdbs[i];
		}
	}
	return NULL;
}

int main(int argc, const char *argv[])
{
	TALLOC_CTX *frame = talloc_stackframe();
	/* What popt allocates stays reachable. */
	static char *path, *iscsi, *command;
	static double seconds = 1, ramp_seconds = 0.2;
	const struct poptOption table[] = {
		POPT_AUTOHELP
		{ "path", 0, POPT_ARG_STRING, &path, 0,
		  "of a shared virtual disk", "PATH" },
		{ "iscsi", 0, POPT_ARG_STRING, &iscsi, 0,
		  "a disk behind iSCSI", "URL" },
		{ "command", 0, POPT_ARG_STRING, &command, 0,
		  "test-unit-ready or read-keys", "NAME" },
		{ "seconds", 0, POPT_ARG_DOUBLE, &seconds, 0,
		  "how long to count (default: 1)", "S" },
		{ "ramp", 0, POPT_ARG_DOUBLE, &ramp_seconds, 0,
		  "how long before it counts (default: 0.2)", "S" },
		POPT_TABLEEND
	};
	poptContext pc = poptGetContext("roundtrip", argc, argv, table, 0);
	const struct roundtrip_cdb *cdb = NULL;
	struct roundtrip trip = { .execute = NULL };
	int ret = poptGetNextOpt(pc);

	cdb = roundtrip_find(command);
	if (ret != -1 || cdb == NULL || (path == NULL) == (iscsi == NULL)) {
		poptPrintUsage(pc, stderr, 0);
		ret = 1;
		goto done;
	}
	if (path != NULL) {
		ret = roundtrip_rsvd_connect(frame, &trip, path);
	} else {
		ret = roundtrip_iscsi_connect(&trip, iscsi);
	}
	if (ret == 0) {
		ret = roundtrip_key(&trip, ROUNDTRIP_KEY);
	}
	if (ret == 0) {
		ret = roundtrip_run(frame, &trip, cdb, ramp_seconds, seconds);
		roundtrip_key(&trip, 0);
	} else {
		fprintf(stderr, "roundtrip: cannot register: %d\n", ret);
	}
#ifdef HAVE_LIBISCSI
	if (trip.iscsi != NULL) {
		iscsi_logout_sync(trip.iscsi);
		iscsi_destroy_context(trip.iscsi);
	}
#endif
done:
	poptFreeContext(pc);
	TALLOC_FREE(frame);
	return ret == 0 ? 0 : 1;
}
