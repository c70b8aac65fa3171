def graft(d):
    raise SystemExit('later')
