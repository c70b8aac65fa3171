/*
 * vfs_rsvd: the list of broken rules
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

/*
 * More than anybody reads: a table of 64 million bad entries must not fill
 * the memory with complaints.
 */
#define MAX_FINDINGS 1000

void vhdx_find(struct vhdx_findings *findings, bool is_error,
	       const char *structure, const char *field,
	       const char *rule, ...)
{
	struct vhdx_check_finding *list = NULL;
	struct vhdx_check_finding *finding = NULL;
	va_list ap;

	if (findings == NULL) {
		return;
	}
	findings->num_errors += is_error ? 1 : 0;
	if (findings->num >= MAX_FINDINGS) {
		return;
	}

	/* Out of memory loses the words, not the count of errors. */
	list = talloc_realloc(findings, findings->list,
			      struct vhdx_check_finding, findings->num + 1);
	if (list == NULL) {
		return;
	}
	findings->list = list;
	finding = &list[findings->num];
	*finding = (struct vhdx_check_finding) {
		.is_error = is_error,
		.structure = structure,
		.field = talloc_strdup(list, field),
	};
	va_start(ap, rule);
	finding->rule = talloc_vasprintf(list, rule, ap);
	va_end(ap);
	if (finding->field == NULL || finding->rule == NULL) {
		return;
	}
	findings->num += 1;
}

char *vhdx_findings_reason(TALLOC_CTX *mem_ctx,
			   const struct vhdx_findings *findings)
{
	size_t i;

	for (i = 0; i < findings->num; i++) {
		const struct vhdx_check_finding *f = &findings->list[i];

		if (f->is_error) {
			return talloc_asprintf(mem_ctx, "%s: %s: %s",
					       f->structure, f->field,
					       f->rule);
		}
	}
	return NULL;
}
