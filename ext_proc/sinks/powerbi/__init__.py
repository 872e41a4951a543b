"""Windows pushed live into a Power BI semantic model over the REST API.

Microsoft retires real-time streaming in Power BI: push semantic models can be
created until 2027-10-31, existing ones go on. What they take is limited
(powerbi.budget, powerbi.rows), so window rows go there and no readings.
"""
