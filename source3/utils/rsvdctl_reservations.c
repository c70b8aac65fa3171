/*
 * rsvdctl: persistent reservations of a disk on a server
 *
 * All of it is PERSISTENT RESERVE IN and OUT through the tunnel (SPC-4 6.15,
 * 6.16): what a cluster node does, and so what a server cannot tell from one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/bytearray.h"

#define PR_IN_READ_KEYS		0x00
#define PR_IN_READ_RESERVATION	0x01
#define PR_IN_READ_FULL_STATUS	0x03

#define PR_OUT_REGISTER		0x00
#define PR_OUT_RESERVE		0x01
#define PR_OUT_RELEASE		0x02
#define PR_OUT_CLEAR		0x03
#define PR_OUT_PREEMPT		0x04
#define PR_OUT_PREEMPT_AND_ABORT 0x05
#define PR_OUT_REGISTER_AND_IGNORE 0x06

#define PR_OUT_LENGTH 24
#define PR_OUT_APTPL 0x01

/* 16 bits is what the CDB has room for. */
#define PR_IN_LENGTH 0xFFFC

static struct {
	const char *key;
	const char *old_key;
	const char *victim;
	const char *type;
	int abort_tasks;
	int persist;
} pr_opts;

static struct poptOption reservations_options[] = {
	{
		.longName = "key",
		.shortName = 'K',
		.argInfo = POPT_ARG_STRING,
		.arg = &pr_opts.key,
		.descrip = "Reservation key, 64 bits in hex: the new one with "
			   "register; else the one that this initiator is "
			   "registered with, which is looked up by default",
		.argDescrip = "KEY",
	},
	{
		.longName = "old-key",
		.argInfo = POPT_ARG_STRING,
		.arg = &pr_opts.old_key,
		.descrip = "register: only if this is the present key; 0 for "
			   "none. Default: whatever it is",
		.argDescrip = "KEY",
	},
	{
		.longName = "victim",
		.argInfo = POPT_ARG_STRING,
		.arg = &pr_opts.victim,
		.descrip = "preempt: the key whose registrations go",
		.argDescrip = "KEY",
	},
	{
		.longName = "type",
		.shortName = 'T',
		.argInfo = POPT_ARG_STRING,
		.arg = &pr_opts.type,
		.descrip = "write-exclusive or exclusive-access, alone or with "
			   "-registrants-only or -all-registrants; or we, ea, "
			   "wero, earo, wear, eaar. Default: that of the "
			   "reservation there is, "
			   "write-exclusive-registrants-only if there is none",
		.argDescrip = "TYPE",
	},
	{
		.longName = "abort",
		.argInfo = POPT_ARG_NONE,
		.arg = &pr_opts.abort_tasks,
		.descrip = "preempt: abort the commands of the preempted, too",
	},
	{
		.longName = "persist",
		.argInfo = POPT_ARG_NONE,
		.arg = &pr_opts.persist,
		.descrip = "register: outlive a loss of power (APTPL)",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

/* SPC-4 6.15.3.3 */
static const struct {
	uint8_t type;
	const char *abbreviation;
	const char *name;
} pr_types[] = {
	{ 0x1, "we", "write-exclusive" },
	{ 0x3, "ea", "exclusive-access" },
	{ 0x5, "wero", "write-exclusive-registrants-only" },
	{ 0x6, "earo", "exclusive-access-registrants-only" },
	{ 0x7, "wear", "write-exclusive-all-registrants" },
	{ 0x8, "eaar", "exclusive-access-all-registrants" },
};

static const char *pr_type_name(uint8_t type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pr_types); i++) {
		if (pr_types[i].type == type) {
			return pr_types[i].name;
		}
	}
	return "unknown";
}

static bool pr_type_parse(struct rsvdctl *ctl, const char *text, uint8_t *type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pr_types); i++) {
		if (strequal(text, pr_types[i].abbreviation) ||
		    strequal(text, pr_types[i].name)) {
			*type = pr_types[i].type;
			return true;
		}
	}
	rsvdctl_usage(ctl, "no such --type: %s", text);
	return false;
}

static bool pr_key_parse(struct rsvdctl *ctl, const char *what,
			 const char *text, uint64_t *key)
{
	char *end = NULL;

	errno = 0;
	*key = strtoull(text, &end, 16);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-') {
		rsvdctl_usage(ctl, "%s is no key of 64 bits in hex: %s", what,
			      text);
		return false;
	}
	return true;
}

/*
 * What is there
 */

struct pr_registrant {
	uint64_t key;
	bool is_holder;
	/* Both only with READ FULL STATUS, and then if they are texts. */
	const char *name;		/* of the TransportID */
	const char *initiator_id;	/* of a name that vfs_rsvd made */
};

struct pr_state {
	uint32_t generation;
	bool is_reserved;
	uint8_t type;
	uint64_t holder_key;
	/* The server said who is registered, not only the keys. */
	bool is_full;
	struct pr_registrant *registrants;
	size_t num_registrants;
};

static int pr_in(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
		 uint8_t service_action, struct librsvd_scsi_result *result)
{
	uint8_t cdb[10] = { 0x5E, service_action };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_in_length = PR_IN_LENGTH,
	};

	PUSH_BE_U16(cdb, 7, PR_IN_LENGTH);
	return rsvdctl_remote_scsi(ctl, attach, "PERSISTENT RESERVE IN",
				   &command, result);
}

static bool pr_add_registrant(struct rsvdctl *ctl, struct pr_state *state,
			      const struct pr_registrant *registrant)
{
	struct pr_registrant *tmp = NULL;

	tmp = talloc_realloc(ctl->mem_ctx, state->registrants,
			     struct pr_registrant, state->num_registrants + 1);
	if (tmp == NULL) {
		return false;
	}
	state->registrants = tmp;
	state->registrants[state->num_registrants++] = *registrant;
	return true;
}

/*
 * The name in an iSCSI TransportID (SPC-4 7.6.4.6); what else there is has
 * no name. vfs_rsvd puts the GUID of the initiator last in it.
 */
static void pr_transport_id(struct rsvdctl *ctl, const uint8_t *id,
			    size_t length, struct pr_registrant *registrant)
{
	const char *end = NULL;
	char *name = NULL;
	struct librsvd_guid guid;
	size_t name_length;

	if (length < 4 || (id[0] & 0x0F) != 0x05) {
		return;
	}
	name = talloc_strndup(ctl->mem_ctx, (const char *)id + 4, length - 4);
	if (name == NULL) {
		return;
	}
	for (end = name; *end != '\0'; end++) {
		/* It goes to a terminal. */
		if (!isprint((unsigned char)*end)) {
			return;
		}
	}
	registrant->name = name;

	name = talloc_strdup(ctl->mem_ctx, name);
	if (name == NULL) {
		return;
	}
	name[strcspn(name, ",")] = '\0';
	name_length = strlen(name);
	if (name_length > 36 && name[name_length - 37] == ':' &&
	    librsvd_guid_parse(name + name_length - 36, &guid)) {
		registrant->initiator_id =
			librsvd_guid_string(ctl->mem_ctx, &guid);
	}
}

/* SPC-4 6.15.5 */
static bool pr_parse_full_status(struct rsvdctl *ctl, const uint8_t *data,
				 size_t length, struct pr_state *state)
{
	size_t offset;

	if (length < 8) {
		return false;
	}
	state->generation = PULL_BE_U32(data, 0);
	length = MIN(length, (uint64_t)PULL_BE_U32(data, 4) + 8);

	for (offset = 8; offset < length;) {
		const uint8_t *d = data + offset;
		size_t left = length - offset;
		struct pr_registrant registrant = { .key = 0 };
		uint32_t additional;

		if (left < 24) {
			return false;
		}
		additional = PULL_BE_U32(d, 20);
		if (additional > left - 24) {
			return false;
		}
		registrant.key = PULL_BE_U64(d, 0);
		registrant.is_holder = (d[12] & 0x01) != 0;
		if (registrant.is_holder) {
			state->is_reserved = true;
			state->type = d[13] & 0x0F;
			state->holder_key = registrant.key;
		}
		pr_transport_id(ctl, d + 24, additional, &registrant);
		if (!pr_add_registrant(ctl, state, &registrant)) {
			return false;
		}
		offset += 24 + additional;
	}
	state->is_full = true;
	return true;
}

/* SPC-4 6.15.2, 6.15.3 */
static bool pr_parse_keys(struct rsvdctl *ctl, const uint8_t *data,
			  size_t length, struct pr_state *state)
{
	size_t offset;

	if (length < 8) {
		return false;
	}
	state->generation = PULL_BE_U32(data, 0);
	length = MIN(length, (uint64_t)PULL_BE_U32(data, 4) + 8);

	for (offset = 8; offset + 8 <= length; offset += 8) {
		struct pr_registrant registrant = {
			.key = PULL_BE_U64(data, offset),
		};

		if (!pr_add_registrant(ctl, state, &registrant)) {
			return false;
		}
	}
	return true;
}

static bool pr_parse_reservation(const uint8_t *data, size_t length,
				 struct pr_state *state)
{
	if (length < 8) {
		return false;
	}
	if (length < 24 || PULL_BE_U32(data, 4) == 0) {
		return true;
	}
	state->is_reserved = true;
	state->holder_key = PULL_BE_U64(data, 8);
	state->type = data[21] & 0x0F;
	return true;
}

static int pr_read_state(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
			 struct pr_state *state)
{
	struct librsvd_scsi_result result;
	size_t i;
	int ret;

	*state = (struct pr_state) { .generation = 0 };

	ret = pr_in(ctl, attach, PR_IN_READ_FULL_STATUS, &result);
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	if (result.sense.scsi_status == 0) {
		if (pr_parse_full_status(ctl, result.data_in,
					 result.data_in_length, state)) {
			return RSVDCTL_OK;
		}
		return rsvdctl_error(ctl, "%s sent what is no full status",
				     attach->unc);
	}

	/* Optional, and Windows does without. */
	ret = pr_in(ctl, attach, PR_IN_READ_KEYS, &result);
	if (ret == RSVDCTL_OK) {
		ret = rsvdctl_scsi_check(ctl, attach, "READ KEYS", &result);
	}
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	if (!pr_parse_keys(ctl, result.data_in, result.data_in_length,
			   state)) {
		return rsvdctl_error(ctl, "%s sent what are no keys",
				     attach->unc);
	}
	ret = pr_in(ctl, attach, PR_IN_READ_RESERVATION, &result);
	if (ret == RSVDCTL_OK) {
		ret = rsvdctl_scsi_check(ctl, attach, "READ RESERVATION",
					 &result);
	}
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	if (!pr_parse_reservation(result.data_in, result.data_in_length,
				  state)) {
		return rsvdctl_error(ctl, "%s sent what is no reservation",
				     attach->unc);
	}
	for (i = 0; i < state->num_registrants; i++) {
		state->registrants[i].is_holder = state->is_reserved &&
			(state->type >= 0x7 ||
			 state->registrants[i].key == state->holder_key);
	}
	return RSVDCTL_OK;
}

/* The types 7 and 8 have no holder of their own. */
static bool pr_has_one_holder(const struct pr_state *state)
{
	return state->is_reserved && state->type < 0x7;
}

/*
 * show
 */

static char *pr_key_string(struct rsvdctl *ctl, uint64_t key)
{
	return talloc_asprintf(ctl->mem_ctx, "0x%016"PRIx64, key);
}

static int pr_show_json(struct rsvdctl *ctl, const char *unc,
			const struct pr_state *state)
{
	json_t *registrants = json_array();
	json_t *reservation = json_null();
	size_t i;

	for (i = 0; i < state->num_registrants; i++) {
		const struct pr_registrant *r = &state->registrants[i];

		json_array_append_new(registrants, json_pack(
			"{s:s, s:b, s:s?, s:s?}",
			"key", pr_key_string(ctl, r->key),
			"holder", r->is_holder,
			"initiator-id", r->initiator_id,
			"name", r->name));
	}
	if (state->is_reserved) {
		reservation = json_pack(
			"{s:s, s:s?}",
			"type", pr_type_name(state->type),
			"key", pr_has_one_holder(state) ?
			pr_key_string(ctl, state->holder_key) : NULL);
	}
	return rsvdctl_print_json(ctl, json_pack(
		"{s:s, s:I, s:o, s:o}",
		"disk", rsvdctl_utf8(ctl->mem_ctx, unc),
		"generation", (json_int_t)state->generation,
		"reservation", reservation,
		"registrants", registrants));
}

static int pr_show(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	struct pr_state state;
	size_t i;
	int ret;

	ret = pr_read_state(ctl, attach, &state);
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	if (ctl->json) {
		return pr_show_json(ctl, attach->unc, &state);
	}

	printf("generation:  %"PRIu32"\n", state.generation);
	if (!state.is_reserved) {
		printf("reservation: none\n");
	} else if (pr_has_one_holder(&state)) {
		printf("reservation: %s, held with %s\n",
		       pr_type_name(state.type),
		       pr_key_string(ctl, state.holder_key));
	} else {
		printf("reservation: %s\n", pr_type_name(state.type));
	}
	printf("registrants: %zu\n", state.num_registrants);
	for (i = 0; i < state.num_registrants; i++) {
		const struct pr_registrant *r = &state.registrants[i];

		printf("  %s %s%s%s\n", pr_key_string(ctl, r->key),
		       r->is_holder ? "holder" : "-",
		       r->name != NULL ? " " : "",
		       r->name != NULL ? r->name : "");
	}
	return RSVDCTL_OK;
}

/*
 * Changing it
 */

static int pr_out(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
		  const char *what, uint8_t service_action, uint8_t type,
		  uint64_t key, uint64_t service_action_key)
{
	uint8_t cdb[10] = { 0x5F, service_action, type };
	uint8_t list[PR_OUT_LENGTH] = { 0 };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = list,
		.data_out_length = sizeof(list),
	};
	struct librsvd_scsi_result result;
	int ret;

	PUSH_BE_U32(cdb, 5, sizeof(list));
	PUSH_BE_U64(list, 0, key);
	PUSH_BE_U64(list, 8, service_action_key);
	if (pr_opts.persist) {
		list[20] = PR_OUT_APTPL;
	}

	ret = rsvdctl_remote_scsi(ctl, attach, what, &command, &result);
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	return rsvdctl_scsi_check(ctl, attach, what, &result);
}

/* The key that this initiator is registered with. */
static int pr_own_key(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
		      const struct pr_state *state, uint64_t *key)
{
	const struct librsvd_open_response *response =
		librsvd_disk_open_response(attach->disk);
	char *self = NULL;
	size_t i;

	if (pr_opts.key != NULL) {
		if (!pr_key_parse(ctl, "--key", pr_opts.key, key)) {
			return RSVDCTL_FAILED;
		}
		return RSVDCTL_OK;
	}
	if (!state->is_full) {
		return rsvdctl_usage(ctl, "--key is missing, and the server "
				     "does not tell whose key is which");
	}
	self = librsvd_guid_string(ctl->mem_ctx, &response->initiator_id);
	for (i = 0; i < state->num_registrants; i++) {
		const char *id = state->registrants[i].initiator_id;

		if (self != NULL && id != NULL && strequal(id, self)) {
			*key = state->registrants[i].key;
			return RSVDCTL_OK;
		}
	}
	return rsvdctl_error(ctl, "initiator %s is not registered: do "
			     "\"register --key=KEY\" first, or say with "
			     "--initiator-id who you are", self);
}

/* The type that was asked for, else that of the reservation there is. */
static bool pr_own_type(struct rsvdctl *ctl, const struct pr_state *state,
			uint8_t *type)
{
	if (pr_opts.type != NULL) {
		return pr_type_parse(ctl, pr_opts.type, type);
	}
	*type = state->is_reserved ? state->type : 0x5;
	return true;
}

static int pr_register(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	uint64_t key, old_key = 0;
	uint8_t service_action = PR_OUT_REGISTER_AND_IGNORE;

	if (pr_opts.key == NULL) {
		return rsvdctl_usage(ctl, "--key is missing");
	}
	if (!pr_key_parse(ctl, "--key", pr_opts.key, &key)) {
		return RSVDCTL_FAILED;
	}
	if (key == 0) {
		return rsvdctl_usage(ctl, "0 is no key; \"unregister\" takes "
				     "a registration back");
	}
	if (pr_opts.old_key != NULL) {
		if (!pr_key_parse(ctl, "--old-key", pr_opts.old_key,
				  &old_key)) {
			return RSVDCTL_FAILED;
		}
		service_action = PR_OUT_REGISTER;
	}
	return pr_out(ctl, attach, "REGISTER", service_action, 0, old_key, key);
}

static int pr_unregister(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	uint64_t key = 0;

	if (pr_opts.key == NULL) {
		return pr_out(ctl, attach, "REGISTER",
			      PR_OUT_REGISTER_AND_IGNORE, 0, 0, 0);
	}
	if (!pr_key_parse(ctl, "--key", pr_opts.key, &key)) {
		return RSVDCTL_FAILED;
	}
	return pr_out(ctl, attach, "REGISTER", PR_OUT_REGISTER, 0, key, 0);
}

static int pr_reserve(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	struct pr_state state;
	uint64_t key;
	uint8_t type;
	int ret;

	ret = pr_read_state(ctl, attach, &state);
	if (ret == RSVDCTL_OK) {
		ret = pr_own_key(ctl, attach, &state, &key);
	}
	if (ret != RSVDCTL_OK || !pr_own_type(ctl, &state, &type)) {
		return ret != RSVDCTL_OK ? ret : RSVDCTL_FAILED;
	}
	return pr_out(ctl, attach, "RESERVE", PR_OUT_RESERVE, type, key, 0);
}

static int pr_release(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	struct pr_state state;
	uint64_t key;
	uint8_t type;
	int ret;

	ret = pr_read_state(ctl, attach, &state);
	if (ret == RSVDCTL_OK) {
		ret = pr_own_key(ctl, attach, &state, &key);
	}
	if (ret != RSVDCTL_OK || !pr_own_type(ctl, &state, &type)) {
		return ret != RSVDCTL_OK ? ret : RSVDCTL_FAILED;
	}
	return pr_out(ctl, attach, "RELEASE", PR_OUT_RELEASE, type, key, 0);
}

static int pr_preempt(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	struct pr_state state;
	uint64_t key, victim;
	uint8_t type;
	int ret;

	if (pr_opts.victim == NULL) {
		return rsvdctl_usage(ctl, "--victim is missing: the key whose "
				     "registrations are to go");
	}
	if (!pr_key_parse(ctl, "--victim", pr_opts.victim, &victim)) {
		return RSVDCTL_FAILED;
	}
	ret = pr_read_state(ctl, attach, &state);
	if (ret == RSVDCTL_OK) {
		ret = pr_own_key(ctl, attach, &state, &key);
	}
	if (ret != RSVDCTL_OK || !pr_own_type(ctl, &state, &type)) {
		return ret != RSVDCTL_OK ? ret : RSVDCTL_FAILED;
	}
	if (pr_opts.abort_tasks) {
		return pr_out(ctl, attach, "PREEMPT AND ABORT",
			      PR_OUT_PREEMPT_AND_ABORT, type, key, victim);
	}
	return pr_out(ctl, attach, "PREEMPT", PR_OUT_PREEMPT, type, key,
		      victim);
}

static int pr_clear(struct rsvdctl *ctl, struct rsvdctl_attach *attach)
{
	struct pr_state state;
	uint64_t key;
	int ret;

	ret = pr_read_state(ctl, attach, &state);
	if (ret == RSVDCTL_OK) {
		ret = pr_own_key(ctl, attach, &state, &key);
	}
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	return pr_out(ctl, attach, "CLEAR", PR_OUT_CLEAR, 0, key, 0);
}

static const struct {
	const char *name;
	bool writes;	/* PERSISTENT RESERVE OUT wants a writable handle */
	int (*run)(struct rsvdctl *ctl, struct rsvdctl_attach *attach);
} pr_actions[] = {
	{ "show", false, pr_show },
	{ "register", true, pr_register },
	{ "unregister", true, pr_unregister },
	{ "reserve", true, pr_reserve },
	{ "release", true, pr_release },
	{ "preempt", true, pr_preempt },
	{ "clear", true, pr_clear },
};

static int rsvdctl_reservations_run(struct rsvdctl *ctl)
{
	const char *target = poptGetArg(ctl->pc);
	const char *action = poptGetArg(ctl->pc);
	struct rsvdctl_attach *attach = NULL;
	size_t i;
	int ret;

	if (target == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one disk and what to do");
	}
	if (!rsvdctl_is_remote(target)) {
		return rsvdctl_usage(ctl, "not of the form "
				     "//server/share/path: %s", target);
	}
	if (action == NULL) {
		action = "show";
	}
	for (i = 0; i < ARRAY_SIZE(pr_actions); i++) {
		if (strcmp(action, pr_actions[i].name) == 0) {
			break;
		}
	}
	if (i == ARRAY_SIZE(pr_actions)) {
		return rsvdctl_usage(ctl, "no such action: %s", action);
	}

	attach = rsvdctl_remote_attach(ctl, target, pr_actions[i].writes);
	if (attach == NULL) {
		return RSVDCTL_FAILED;
	}
	ret = pr_actions[i].run(ctl, attach);
	/* The server has done it, or not: this cannot undo it. */
	librsvd_close(attach->disk);
	return ret;
}

struct rsvdctl_command rsvdctl_reservations = {
	.name = "reservations",
	.args = "TARGET [show|register|unregister|reserve|release|preempt|"
		"clear]",
	.summary = "see and change persistent reservations",
	.options = reservations_options,
	.remote = true,
	.run = rsvdctl_reservations_run,
};
