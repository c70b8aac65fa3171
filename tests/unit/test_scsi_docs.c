/*
 * vfs_rsvd: docs/scsi.md lists the commands there are
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <ctype.h>
#include "tests/unit/scsi_test.h"
#include "modules/scsi/scsi_private.h"

static const char *held_back_by(enum scsi_conflict conflict)
{
	switch (conflict) {
	case SCSI_CONFLICT_NEVER:
		return "nothing";
	case SCSI_CONFLICT_LEGACY:
		return "RESERVE";
	case SCSI_CONFLICT_READ:
		return "exclusive access";
	case SCSI_CONFLICT_WRITE:
		return "any";
	case SCSI_CONFLICT_OWN:
		return "own rules";
	}
	return NULL;
}

static void command_line(const struct scsi_command *c, char *line,
			 size_t size)
{
	char service_action[8] = "";

	if (c->service_action != SCSI_NO_SERVICE_ACTION) {
		snprintf(service_action, sizeof(service_action), "%02x",
			 c->service_action);
	}
	snprintf(line, size, "| %02x | %s | %s | %u | %s |%s |\n", c->opcode,
		 service_action, c->name, c->cdb_length,
		 held_back_by(c->conflict),
		 (c->flags & SCSI_CMD_THIN) ? " yes" : "");
}

static FILE *open_docs(void)
{
	const char *top = getenv("TOP");
	char path[1024];
	FILE *docs = NULL;

	snprintf(path, sizeof(path), "%s/docs/scsi.md",
		 top != NULL ? top : ".");
	docs = fopen(path, "r");
	if (docs == NULL) {
		print_message("%s: %s\n", path, strerror(errno));
		skip();
	}
	return docs;
}

/* In the order of the table, with nothing between */
static void the_docs_list_every_command_and_no_other(void **state)
{
	FILE *docs = open_docs();
	char line[1024];
	char expected[1024];
	size_t i = 0;

	while (fgets(line, sizeof(line), docs) != NULL) {
		if (i != 0 && strncmp(line, "## ", 3) == 0) {
			break;
		}
		/* A row begins with two hexadecimal digits. */
		if (strncmp(line, "| ", 2) != 0 || line[4] != ' ' ||
		    !isxdigit((unsigned char)line[2]) ||
		    !isxdigit((unsigned char)line[3])) {
			continue;
		}
		assert_true(i < scsi_num_commands());
		command_line(scsi_command_by_index(i), expected,
			     sizeof(expected));
		assert_string_equal(line, expected);
		i++;
	}
	fclose(docs);

	if (i < scsi_num_commands()) {
		command_line(scsi_command_by_index(i), expected,
			     sizeof(expected));
		fail_msg("missing: %s", expected);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_docs_list_every_command_and_no_other),
	};

	if (argc > 1 && strcmp(argv[1], "--print") == 0) {
		char line[1024];
		size_t i;

		for (i = 0; i < scsi_num_commands(); i++) {
			command_line(scsi_command_by_index(i), line,
				     sizeof(line));
			fputs(line, stdout);
		}
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
