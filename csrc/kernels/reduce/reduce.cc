// filled by the family
