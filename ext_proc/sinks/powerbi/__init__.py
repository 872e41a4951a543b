"""The Power BI push sink."""
